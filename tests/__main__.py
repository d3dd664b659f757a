"""Every check and every test, in one command: ./mint test [options of pytest].

Static checks run first and do not stop each other; then pytest runs, whose closing line is the last one printed.
`./mint test --fast` leaves out the tests that start real processes or install packages; `--without-linux` also takes
away, from the rest, the calls that only Linux has. `--soak 10m [--seed N]` runs the soak alone: random faults for so
long, then a check of everything that happened (`tests/soak`). `--soak-serving 10m` does the same to models and their
calls; `--soak-serving --swaps 100` replaces a model under load.

Pytest runs the files of tests in two processes or more (pytest-xdist); `-n 0` runs all in one, for `-s` and debuggers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Two at least, since most tests wait for something; four at most, each of which may hold a TorchServe. A file stays in
# one process, for its fixtures; the files go out in their order, which has the slowest folders first.
PARALLEL = [f"--numprocesses={min(max(os.cpu_count() or 1, 2), 4)}", "--dist=loadfile", "--no-loadscope-reorder"]
# Those that the lock file installs, and no other: a Python that brings its own torch may bring more.
PLUGINS = ["pytest_timeout", "xdist.plugin", "_hypothesis_pytestplugin"]
SLOW = ("e2e", "engine", "registry")  # marks of tests that start real processes or install packages
WITHOUT_LINUX = "--without-linux"
CHECKS = {
    "ruff format": ["ruff", "format", "--check", "--quiet", "."],
    "ruff": ["ruff", "check", "--quiet", "."],
    "mypy": ["mypy", "--no-error-summary"],
    "buf lint": ["buf", "lint", "protos"],
    "buf format": ["buf", "format", "--diff", "--exit-code", "protos"],
    "import-linter": ["lint-imports", "--no-logo"],
}


def main(arguments: list[str]) -> int:
    """Run the checks, then pytest; or the soak. Returns the exit status."""
    for option, module in (("--soak", "tests.soak"), ("--soak-serving", "tests.soak.serving")):
        if option in arguments:
            return subprocess.run([sys.executable, "-m", module, *arguments], cwd=ROOT, check=False).returncode
    failed = [name for name, command in CHECKS.items() if not passes(name, command)]
    if failed:
        print(f"checks that failed: {', '.join(failed)} (the tests run all the same)", flush=True)
    if "--fast" in arguments or WITHOUT_LINUX in arguments:
        left_out = [*SLOW, *(["linux"] if WITHOUT_LINUX in arguments else [])]
        arguments = [argument for argument in arguments if argument != "--fast"]
        arguments += ["-m", " and ".join(f"not {mark}" for mark in left_out)]
    plugins = [f"-p{name}" for name in PLUGINS]
    command = [sys.executable, "-m", "pytest", *plugins, "--durations=10", *PARALLEL, *arguments]
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    tests = subprocess.run(command, cwd=ROOT, env=environment, check=False)
    return tests.returncode or bool(failed)


def passes(name: str, command: list[str]) -> bool:
    """Run one check and print a line about it, and its output if it fails."""
    start = time.monotonic()
    result = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    verdict = "ok" if result.returncode == 0 else "FAILED"
    print(f"{name:<14} {verdict:<7} {time.monotonic() - start:5.1f} s", flush=True)
    if result.returncode != 0:
        print(result.stdout, result.stderr, flush=True)
    return result.returncode == 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
