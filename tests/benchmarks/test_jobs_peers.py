"""The comparison of jobs with plain Celery counts rightly; the faults themselves are tried by the benchmark alone."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
from mintage.v1 import jobs_pb2

from benchmarks import jobs_peers
from benchmarks.job_peers import celery_side, history, mintage_side, rows
from benchmarks.job_peers.history import Done


def test_units_are_counted_by_how_often_they_were_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(history.VARIABLE, str(tmp_path / "history"))
    assert history.read(tmp_path / "history") == []
    for event, unit in (("start", 0), ("end", 0), ("start", 1), ("end", 2), ("end", 2)):
        history.note(event, unit)
    with (tmp_path / "history").open("a") as file:
        file.write("17.0 end 3")  # still being written
    ends = [note.unit for note in history.read(tmp_path / "history") if note.event == "end"]
    found = history.count(ends, range(4))
    assert found == Done(never=2, once=1, more=1)
    assert str(found) == "1 once, 1 more than once, 2 never"


def test_a_shard_counts_as_done_once_all_its_images_are_in_the_files(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for number, indices in enumerate([(0, 1), (2,), (4, 5), (4, 5)]):
        with tarfile.open(tmp_path / "data" / f"{number}.tar", "w") as tar:
            for index in indices:
                content = json.dumps({"index": index}).encode()
                member = tarfile.TarInfo(f"{index}.json")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    job = jobs_pb2.Job(output_uri=str(tmp_path))
    assert mintage_side.done(job, 4, 2) == Done(never=2, once=1, more=1)


def test_the_table_has_a_row_for_each_fault_and_a_column_for_each_system() -> None:
    cells = {row: rows.Cell("a word", Done(never=0, once=2, more=0)) for row in rows.ROWS}
    lines = jobs_peers.table({"one": cells, "two": cells}, list(rows.ROWS)).splitlines()
    assert lines[0] == "| tried | one | two |" and len(lines) == 2 + len(rows.ROWS)
    assert lines[2].endswith(" | 2 once; a word | 2 once; a word |")
    assert rows.ROWS.keys() == celery_side.TRIED.keys() == mintage_side.TRIED.keys()


@pytest.mark.e2e
def test_celerys_workers_do_each_unit_and_leave_nothing_running(tmp_path: Path) -> None:
    with celery_side.Celery("Redis", tmp_path / "celery").work() as celery:
        for unit in range(3):
            celery.send("work", unit, 0.1)
        assert celery.all_end(3)
        assert history.count(celery.ended(), range(3)) == Done(never=0, once=3, more=0)
    assert celery.supervisor.leftovers() == []
