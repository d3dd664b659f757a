"""The wheel carries what the lock and the imports say, and nobody else's packages."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import shutil
import site
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SPEC = importlib.util.spec_from_file_location("install", ROOT / "locks" / "install.py")
assert SPEC is not None and SPEC.loader is not None
install = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(install)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_wheel_holds_the_three_packages_the_digits_and_the_lua_scripts(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()

    roots = {name.split("/")[0] for name in names if ".dist-info" not in name}

    assert roots == {"service", "handlers", "training", "mintage_command.py"}  # the client is a distribution of its own
    assert "training/data/digits/train-images-idx3-ubyte.gz" in names
    assert any(name.endswith(".lua") for name in names)


def test_the_installed_command_runs_our_code_whatever_pythonpath_holds(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(tmp_path)]
    subprocess.run([*pip, str(wheel.filename)], check=True)
    theirs = tmp_path / "theirs"
    for name in ("service", "training", "handlers", "redis", "typer"):
        (theirs / name).mkdir(parents=True)
        (theirs / name / "__init__.py").write_text("raise SystemExit('the code of somebody else ran')")

    ended = subprocess.run(
        [tmp_path / "bin" / "mintage", "recipes"],
        env={**os.environ, "PYTHONPATH": f"{theirs}{os.pathsep}{tmp_path}"},
        check=False,
        capture_output=True,
        text=True,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "gan-digits" in ended.stdout


def test_mint_runs_in_an_odd_folder_and_in_the_c_locale(tmp_path: Path) -> None:
    clone = tmp_path / 'é "q" \\ & <x> %41 #h'
    venv.create(clone / ".venv")
    for name in ("locks", "protos", "pyproject.toml", "service", "handlers", "training"):
        (clone / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "mint", clone)
    [packages] = (clone / ".venv" / "lib").glob("python*/site-packages")
    (packages / "ours.pth").write_text("\n".join(map(str, [clone, clone / "protos", *site.getsitepackages()])))
    script = clone / ".venv" / "bin" / "mintage"
    script.write_text(f"#!/bin/sh\n'''exec' \"{clone}/.venv/bin/python\" \"$0\" \"$@\"\n' '''\n")  # as installers do
    script.chmod(0o755)
    locked = "cat locks/all.txt pyproject.toml protos/pyproject.toml | cksum"
    fingerprint = subprocess.run(
        locked, shell=True, cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()
    (clone / ".venv" / "lock-all").write_text(f"{fingerprint} {clone}\n")

    ended = subprocess.run(
        [clone / "mint", "recipes"],
        env={**os.environ, "LC_ALL": "C"},
        check=False,
        capture_output=True,
        text=True,
    )

    assert (ended.returncode, ended.stderr) == (0, "")
    assert "gan-digits" in ended.stdout


def test_no_other_distribution_owns_our_package_names() -> None:
    owners = importlib.metadata.packages_distributions()

    for name in ("service", "handlers", "training", "mintage"):
        assert set(owners.get(name, [])) <= {"mintage", "mintage-client"}


@pytest.mark.parametrize(
    "lock", ["service", "torchserve", "all", "test", "readers", "datasets", "hub", "tensorboard", "uv"]
)
def test_every_locked_requirement_has_a_hash_and_torch_is_left_out(lock: str) -> None:
    text = (ROOT / "locks" / f"{lock}.txt").read_text()

    requirements = re.findall(r"^([a-z0-9-]+)==.*?(?=^[a-z]|\Z)", text, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^[a-z0-9-]+==.*?(?=^[a-z]|\Z)", text, re.MULTILINE | re.DOTALL)

    assert requirements
    assert all("--hash=sha256:" in block for block in blocks)
    assert "torch" not in requirements
    assert not [name for name in requirements if name.startswith("nvidia")]


@pytest.mark.parametrize(("lock", "build"), [("torch", ""), ("torch-cpu", "+cpu")])
def test_torch_is_locked_by_hash_for_both_builds_in_the_version_that_is_installed(lock: str, build: str) -> None:
    text = (ROOT / "locks" / f"{lock}.txt").read_text()

    blocks = re.findall(r"^[a-z0-9-]+\S*==.*?(?=^[a-z]|\Z)", text, re.MULTILINE | re.DOTALL)

    assert all("--hash=sha256:" in block for block in blocks)
    assert re.findall(r"^torch==(\S+)", text, re.MULTILINE) == [f"{install.TORCH}{build}"]
    assert any(block.startswith("nvidia-") for block in blocks) == (build == "")


def test_pip_settings_reach_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nextra-index-url = https://one.example/simple\n  https://two.example/simple\ncert = /none.pem\n"
        "find-links = /overruled\nno-index = false\n[install]\nconstraint = /pins.txt\n[download]\nno-index = true\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    monkeypatch.setenv("PIP_FIND_LINKS", "wheels")
    (tmp_path / "wheels").mkdir()
    monkeypatch.chdir(tmp_path)

    settings = install.pip_settings()

    assert install.uv_options(settings, install.OPTIONS) == [
        *("--index", "https://one.example/simple", "--index", "https://two.example/simple"),
        *("--find-links", str(tmp_path / "wheels")),
    ]
    assert settings["constraint"] == "/pins.txt"
    assert "no-index" not in settings


def test_pip_installs_where_it_has_a_setting_that_uv_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV", sys.executable)  # anything that is there
    assert install.Installer().uv
    monkeypatch.setenv("PIP_KEYRING_PROVIDER", "subprocess")
    assert not install.Installer().uv
    monkeypatch.delenv("PIP_KEYRING_PROVIDER")
    monkeypatch.setenv("UV", "no")
    assert not install.Installer().uv


def test_every_extra_that_a_message_names_can_be_installed_as_it_says() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    places = [
        path
        for room in ("service", "handlers", "training", "protos", "docs", "tests")
        for path in (ROOT / room).rglob("*")
    ]
    sources = {path: path.read_text() for path in [*places, ROOT / "README.md"] if path.suffix in (".py", ".md")}

    named = {name for text in sources.values() for name in re.findall(r"\./mint extra ([a-z]+)", text)}

    assert named >= {"datasets", "tensorboard", "neurons", "parquet", "readers", "handlers"}
    assert named <= extras.keys()
    for name in named:
        own = ROOT / "locks" / f"{name}.txt"
        lock = (own if own.exists() else ROOT / "locks" / "all.txt").read_text()
        wanted = {re.split(r"[\[<>=; ]", item)[0] for item in extras[name]} - {"torch"}
        assert [package for package in wanted if f"\n{package}==" not in lock] == [], name
    elsewhere = [str(path) for path, text in sources.items() if "pip install " + "mintage" in text]
    assert elsewhere == []


def test_an_unknown_extra_is_refused_with_the_names_of_those_there_are(capfd: pytest.CaptureFixture[str]) -> None:
    assert install.main("tensorbord") == 2

    assert re.search(r"no extra 'tensorbord'; there are .*tensorboard", capfd.readouterr().err)


def test_every_direct_dependency_has_a_reason_in_the_docs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = project["dependencies"] + [item for extra in project["optional-dependencies"].values() for item in extra]

    reasons = (ROOT / "docs" / "dependencies.md").read_text()

    names = {re.split(r"[\[<>=; ]", item)[0] for item in listed}
    assert sorted(name for name in names if f"| {name} |" not in reasons) == []
