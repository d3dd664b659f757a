from __future__ import annotations

from pathlib import Path

import pytest

from service.processes import log_file
from service.processes.log_file import LogFile


def test_the_tail_shows_lines_of_this_start_only(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "logs" / "api.log")
    with log.open() as file:
        file.write(b"of the first start\n")
    with log.open() as file:
        assert log.tail() == ""
        file.write(b"one\ntwo\nthree\n")
        file.flush()
        assert log.tail(2) == "two\nthree"
    assert log.path.read_bytes() == b"of the first start\none\ntwo\nthree\n"


def test_a_large_log_is_rotated_while_the_process_writes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "MAX_BYTES", 10)
    log = LogFile(tmp_path / "api.log")
    with log.open() as file:
        for turn in range(5):
            file.write(b"lines of turn %d\n" % turn)
            file.flush()
            log.rotate()
        file.write(b"the end\n")
    assert log.tail() == "the end"
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {
        "api.log": "the end\n",
        "api.1.log": "lines of turn 4\n",
        "api.2.log": "lines of turn 3\n",
        "api.3.log": "lines of turn 2\n",
    }


def test_a_small_log_stays(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "api.log")
    with log.open() as file:
        file.write(b"a line\n")
    log.rotate()
    assert [path.name for path in tmp_path.iterdir()] == ["api.log"]
