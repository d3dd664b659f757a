"""The distribution mintage-client alone: what its wheel holds, and that it works at both ends of its ranges."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.fakes import world_in_a_thread

PROTOS = Path(__file__).resolve().parent.parent.parent / "protos"
RANGES = tomllib.loads((PROTOS / "pyproject.toml").read_text())["project"]["dependencies"]
OLDEST = [re.split(r",|$", item)[0].replace(">=", "==") for item in RANGES]
# The oldest releases have wheels up to Python 3.12.
ENDS = {"newest": RANGES} | ({"oldest": OLDEST} if sys.version_info < (3, 13) else {})
CALLS = """
import sys
import numpy as np
from mintage.client import Client
from mintage.errors import ApiError

with Client(sys.argv[1]) as client:
    images = client.generate("digits", 5, seed=7, first_index=3)
    parts = list(client.stream_generate("digits", 5, seed=7, first_index=3))
    assert (np.concatenate(parts) == images).all()
    assert client.classify("judge", client.generate_pil("digits", 2)).probabilities.shape == (2, 3)
    print([model.name for model in client.models()])
    assert client.model("digits").digest
    for call in (lambda: client.generate("nobody", 1), lambda: client.generate("digits", -1)):
        try:
            call()
        except Exception as error:
            print(type(error).__name__, error)
with Client("127.0.0.1:1") as client:
    try:
        client.generate("digits", 1, timeout_s=2)
    except ApiError as error:
        print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the client."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=PROTOS, check=True, capture_output=True)
    return next(folder.glob("mintage_client-*.whl"))


def test_wheel_holds_the_client_and_the_contract_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    held = {name for name in names if ".dist-info/" not in name}
    sources = {
        str(path.relative_to(PROTOS))
        for path in (PROTOS / "mintage").rglob("*")
        if path.suffix in (".py", ".pyi", ".proto")
    }
    assert held == sources | {"mintage/py.typed"}


def test_wheel_asks_for_what_it_imports_in_ranges_and_for_nothing_else(wheel: Path) -> None:
    imported = set(imports(PROTOS / "mintage"))

    packages = {"google.protobuf": "protobuf", "google.rpc": "googleapis-common-protos", "PIL": "pillow"}
    assert {packages.get(name, {"grpc": "grpcio"}.get(name, name)) for name in imported} == {
        re.split("[<>=]", item)[0] for item in RANGES
    }
    assert all(">=" in item and "==" not in item for item in RANGES)


@pytest.mark.registry
@pytest.mark.parametrize("end", sorted(ENDS))
def test_client_alone_calls_the_real_api(wheel: Path, tmp_path: Path, end: str) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    venv.create(tmp_path / "venv", with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--only-binary=:all:", str(wheel), *ENDS[end]]
    subprocess.run(pip, check=True)

    with world_in_a_thread(tmp_path / "state") as at:
        command = [str(python), "-I", "-W", "error", "-c", CALLS, at.address]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)

    assert done.returncode == 0, done.stderr
    models, unknown, negative, nobody = done.stdout.splitlines()
    assert "models/digits" in models
    assert unknown.startswith("NotFound ")
    assert negative.startswith("InvalidRequest ")
    assert nobody.startswith("Unavailable ")
    assert "127.0.0.1:1" in nobody


def imports(package: Path) -> Iterator[str]:
    """What the modules of a package import that is neither theirs nor Python's own."""
    for path in package.rglob("*.py"):
        for line in re.findall(r"^(?:from|import) (\S+)", path.read_text(), re.MULTILINE):
            root, _, rest = line.partition(".")
            if root not in sys.stdlib_module_names and root != package.name:
                yield f"{root}.{rest.partition('.')[0]}" if root == "google" else root
