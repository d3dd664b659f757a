"""Every shell block of README and docs that is marked as runnable (```sh runnable) does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{page.name}-{number}")
    for page in PAGES
    for number, block in enumerate(
        re.findall(r"^```sh runnable\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    )
]


@pytest.mark.parametrize("block", BLOCKS)
def test_block_runs_as_it_is_written(block: str, tmp_path: Path) -> None:
    # As in a fresh clone that is installed: `./mint` ends in the same command, once .venv is up to date.
    mint = tmp_path / "mint"
    mint.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m service "$@"\n')
    mint.chmod(0o755)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    for name in ("docs", "models", "protos", "locks", "pyproject.toml"):
        (tmp_path / name).symlink_to(ROOT / name)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MINTAGE_STATE_DIR": str(tmp_path / "state")}

    done = subprocess.run(
        ["sh", "-eu", "-c", block],
        cwd=tmp_path,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
    )

    assert done.returncode == 0, done.stderr


def test_there_are_blocks_to_run() -> None:
    assert BLOCKS
