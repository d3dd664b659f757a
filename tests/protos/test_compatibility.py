"""The contract stays compatible with its last release: no field, method or name of v1 changes or goes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

PROTOS = Path(__file__).resolve().parents[2] / "protos"
RELEASED = Path(__file__).with_name(
    "released.binpb"
)  # made by: buf build protos --exclude-source-info -o tests/protos/released.binpb


def breaking(protos: Path) -> subprocess.CompletedProcess[str]:
    command = ["buf", "breaking", str(protos), "--against", str(RELEASED)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_the_contract_is_compatible_with_its_last_release() -> None:
    result = breaking(PROTOS)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("int32 recompute_count = 2;", "int32 recompute_count = 5;"),
        ("int32 recompute_count = 2;", "int64 recompute_count = 2;"),
        ("uint64 recompute_seed = 3;", "uint64 seed = 3;"),
    ],
)
def test_a_change_of_number_type_or_name_is_found(tmp_path: Path, old: str, new: str) -> None:
    copy = tmp_path / "protos"
    shutil.copytree(PROTOS, copy, ignore=shutil.ignore_patterns("*.py", "*.pyi", "__pycache__"))
    file = copy / "mintage/v1/verification.proto"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))

    assert breaking(copy).returncode == 100, "what buf answers when something breaks"
