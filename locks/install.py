"""Install a lock file into this Python's environment, by hash: python locks/install.py all|test|EXTRA.

Done by uv where there is one (on PATH, or from its locked wheel), since it takes a fraction of pip's time, and by pip
otherwise, or where pip has settings that uv has not. UV=/path/to/uv names one, UV=no means pip.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

LOCKS = Path(__file__).resolve().parent
ROOT = LOCKS.parent
PIP = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
QUIET = [] if sys.stderr.isatty() else ["--quiet"]
TORCH = "2.13.0"
# pip's settings, as options and variables of uv; the rest of those below mean nothing to an installation by hash.
OPTIONS = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "trusted-host": "--allow-insecure-host",
    "no-index": "--no-index",
    "no-cache-dir": "--no-cache",
}
FLAGS = {"no-index", "no-cache-dir"}
VARIABLES = {
    "cert": ["SSL_CERT_FILE"],
    "client-cert": ["SSL_CLIENT_CERT"],
    "proxy": ["HTTPS_PROXY", "HTTP_PROXY"],
    "default-timeout": ["UV_HTTP_TIMEOUT"],
    "timeout": ["UV_HTTP_TIMEOUT"],
}
MEANINGLESS = {
    "break-system-packages", "cache-dir", "disable-pip-version-check", "no-color", "no-input",
    "no-python-version-warning", "no-warn-script-location", "only-binary", "prefer-binary", "progress-bar", "quiet",
    "require-virtualenv", "retries", "root-user-action", "verbose",
}  # fmt: skip


def main(name: str) -> int:
    """Install a lock file, or that of an extra. Returns the exit status."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    lock = LOCKS / f"{name}.txt"
    if name not in ("all", "test"):
        if name not in extras:
            say(f"there is no extra {name!r}; there are {', '.join(sorted(extras))}")
            return 2
        lock = lock if lock.exists() else LOCKS / "all.txt"
    try:
        installer = Installer()
        installer.install("--require-hashes", "--requirement", str(lock))
        if name in ("all", "test"):
            install_torch(installer)
            ours = ("--editable", str(ROOT / "protos"), "--editable", str(ROOT))
            installer.install("--quiet", "--no-deps", "--no-build-isolation", *ours)
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


class Installer:
    """uv with pip's settings, or pip."""

    def __init__(self) -> None:
        self.uv: list[str] = []
        self.constraints: list[str] = []
        self.variables: dict[str, str] = {}
        settings = pip_settings()
        if unknown := settings.keys() - OPTIONS.keys() - VARIABLES.keys() - MEANINGLESS - {"constraint"}:
            say(f"pip installs, since uv has no such setting as pip's {', '.join(sorted(unknown))}")
        elif uv := find_uv():
            self.constraints = uv_options(settings, {"constraint": "--constraint"})
            places = uv_options(settings, OPTIONS)
            strategy = ["--index-strategy", "unsafe-best-match"]  # all indexes count alike, as they do for pip
            self.uv = [uv, "pip", "install", "--python", sys.executable, *strategy, *places]
            self.variables = uv_variables(settings)

    def install(self, *arguments: str) -> None:
        """Install; where uv cannot, pip tries.

        Raises:
            CalledProcessError: pip could not either, and has said why.
        """
        if self.uv:
            if self._run_uv(*QUIET, *self._constraints(arguments), *arguments).returncode == 0:
                return
            say("uv could not; pip tries")
            self.uv = []
        subprocess.run([*PIP, *QUIET, *arguments], check=True)

    def choice(self, requirement: str) -> str:
        """The version that would be installed, with its build (`2.13.0+cpu`); nothing where none can be found."""
        name = requirement.partition("=")[0]
        if self.uv:
            said = self._run_uv("--dry-run", "--no-deps", *self.constraints, requirement, stderr=subprocess.PIPE).stderr
            found = re.search(rf"^ \+ {name}==(\S+)", said, re.MULTILINE)
        else:
            report = [*PIP, "--dry-run", "--quiet", "--report", "-", "--no-deps", requirement]
            said = subprocess.run(report, check=False, capture_output=True, text=True).stdout
            found = re.search(r'"metadata": \{.*?"version": "([^"]+)"', said, re.DOTALL)
        return found[1] if found else ""

    def _constraints(self, arguments: tuple[str, ...]) -> list[str]:
        """What pip constrains; uv takes none beside hashes, which say more than they do."""
        return [] if "--require-hashes" in arguments else self.constraints

    def _run_uv(self, *arguments: str, stderr: int | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, **self.variables}
        command = [*self.uv, *arguments]
        # In our folder: uv reads the configuration of the project that it is run in.
        return subprocess.run(command, cwd=ROOT, env=environment, check=False, text=True, stderr=stderr)


def install_torch(installer: Installer) -> None:
    """Install torch unless it is there: the build that pip's settings lead to, by hash where the locks have it."""
    if has_torch():
        return
    build = installer.choice(f"torch=={TORCH}")
    if build == f"{TORCH}+cpu":
        say(f"fetching torch {TORCH}, CPU build: 192 MB (0.8 GB on disk)")
        installer.install("--require-hashes", "--requirement", str(LOCKS / "torch-cpu.txt"))
        if has_torch():
            return
    elif "+" not in build:
        say(f"fetching torch {TORCH}: up to 3 GB where that is the CUDA build. For the CPU build (192 MB) stop here")
        say("and point PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS to PyTorch's CPU wheels, or install torch for your Python")
        installer.install("--require-hashes", "--requirement", str(LOCKS / "torch.txt"))
        return
    say(f"no hash of torch {build} for this system and Python is locked: fetched unchecked, by pip's settings")
    installer.install(f"torch=={build}")


def has_torch() -> bool:
    """Whether this Python has a torch that can be imported and is new enough."""
    check = 'import sys, torch; sys.exit([int(n) for n in torch.__version__.split(".")[:2]] < [2, 6])'
    return subprocess.run([sys.executable, "-c", check], check=False, stderr=subprocess.DEVNULL).returncode == 0


def find_uv() -> str | None:
    """The path of uv, which comes by its locked wheel if need be; None if it may not be used or cannot be had."""
    named = os.environ.get("UV")
    if named == "no":
        return None
    own = Path(sys.executable).with_name("uv")
    found = (named and shutil.which(named)) or shutil.which("uv") or (own.exists() and str(own))
    if found:
        return found
    fetch = [*PIP, "--quiet", "--only-binary=:all:", "--require-hashes", "--requirement", str(LOCKS / "uv.txt")]
    fetched = subprocess.run(fetch, check=False, capture_output=True).returncode == 0 and own.exists()
    return str(own) if fetched else None


def pip_settings() -> dict[str, str]:
    """What pip's files and variables set for `pip install`, by option; those that are off are left out."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=False, capture_output=True, text=True)
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for section, option, value in re.findall(r"^(global|install|:env:)\.([\w-]+)=(.*)$", listed.stdout, re.MULTILINE):
        sections[section][option.replace("_", "-")] = ast.literal_eval(value)
    settings = {option: value for section in sections.values() for option, value in section.items()}
    return {option: value for option, value in settings.items() if value.lower() not in ("", "0", "false", "no", "off")}


def uv_options(settings: Mapping[str, str], options: Mapping[str, str]) -> list[str]:
    """Options of uv for those settings of pip that `options` translates; relative paths become absolute."""
    arguments = []
    for setting, option in options.items():
        if setting in FLAGS and setting in settings:
            arguments.append(option)
        elif setting in settings:
            for value in settings[setting].split():
                arguments += [option, str(Path(value).absolute()) if Path(value).exists() else value]
    return arguments


def uv_variables(settings: Mapping[str, str]) -> dict[str, str]:
    """Environment variables of uv for pip's settings."""
    return {name: value for option, value in settings.items() for name in VARIABLES.get(option, [])}


def say(line: str) -> None:
    """One line for the person who waits."""
    print(f"mint: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
