"""`mintage export`: what it says, to people and to programs."""

from __future__ import annotations

import json
from pathlib import Path

from service.cli import app
from tests.support.command_line import CliRunner
from tests.support.runs import tiny_run


def test_the_folder_and_its_size_are_told(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "tiny")

    said = CliRunner().invoke(app, ["export", str(run), str(tmp_path / "one"), "--json"]).stdout
    shown = CliRunner().invoke(app, ["export", str(run), str(tmp_path / "two")]).stdout

    size = sum(path.stat().st_size for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert json.loads(said) == {"folder": str(tmp_path / "one"), "bytes": size}
    assert said.count("\n") == 1
    assert shown == f"{tmp_path / 'two'}: {size / 1e6:.1f} MB\n"
