"""The wheel carries what the lock and the imports say, and nobody else's packages."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Build the wheel."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return zipfile.ZipFile(next(folder.glob("*.whl")))


def test_wheel_holds_the_four_packages_the_digits_and_the_lua_scripts(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()

    roots = {name.split("/")[0] for name in names if ".dist-info" not in name}

    assert roots == {"service", "handlers", "training", "mintage"}
    assert "training/data/digits/train-images-idx3-ubyte.gz" in names
    assert "mintage/v1/jobs_pb2.py" in names
    assert any(name.endswith(".lua") for name in names)


def test_no_other_distribution_owns_our_package_names() -> None:
    owners = importlib.metadata.packages_distributions()

    for name in ("service", "handlers", "training", "mintage"):
        assert set(owners.get(name, [])) <= {"mintage"}


@pytest.mark.parametrize("lock", ["service", "torchserve", "all", "test", "readers"])
def test_every_locked_requirement_has_a_hash_and_torch_is_left_out(lock: str) -> None:
    text = (ROOT / "locks" / f"{lock}.txt").read_text()

    requirements = re.findall(r"^([a-z0-9-]+)==.*?(?=^[a-z]|\Z)", text, re.MULTILINE | re.DOTALL)
    blocks = re.findall(r"^[a-z0-9-]+==.*?(?=^[a-z]|\Z)", text, re.MULTILINE | re.DOTALL)

    assert requirements
    assert all("--hash=sha256:" in block for block in blocks)
    assert "torch" not in requirements
    assert not [name for name in requirements if name.startswith("nvidia")]


def test_every_direct_dependency_has_a_reason_in_the_docs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = project["dependencies"] + [item for extra in project["optional-dependencies"].values() for item in extra]

    reasons = (ROOT / "docs" / "dependencies.md").read_text()

    names = {re.split(r"[\[<>=; ]", item)[0] for item in listed}
    assert sorted(name for name in names if f"| {name} |" not in reasons) == []
