"""Files that are no good Parquet, even such as kill their reader, are refused, and the next file is read."""

from __future__ import annotations

import io
import signal
from pathlib import Path

import psutil
import pytest

from service.jobs.sources.footers import Footers
from service.jobs.sources.inputs import SourceError
from tests.support.image_folders import parquet_of


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path: Path = tmp_path_factory.mktemp("parquet") / "a.parquet"
    parquet_of(path, range(11))
    return path.read_bytes()


def readers() -> list[psutil.Process]:
    """The processes that read footers for this one."""
    return [child for child in psutil.Process().children() if "service.jobs.sources.footers" in child.cmdline()]


def test_rows_are_counted_file_after_file(good: bytes) -> None:
    with Footers() as footers:
        assert [footers.rows(io.BytesIO(good), "a") for _ in range(3)] == [11, 11, 11]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:7],
        lambda data: data[:-1],
        lambda data: data[:-8] + b"\xff\xff\xff\xff" + b"PAR1",
        lambda data: data[:-8] + b"\0\0\0\0" + b"PAR1",
        lambda data: bytes(len(data) - 8) + data[-8:],
    ],
)
def test_what_is_no_parquet_is_refused_and_the_next_file_is_read(good: bytes, damage: object) -> None:
    assert callable(damage)
    with Footers() as footers:
        with pytest.raises(SourceError, match=r"^a\.parquet "):
            footers.rows(io.BytesIO(damage(good)), "a.parquet")
        assert footers.rows(io.BytesIO(good), "b.parquet") == 11


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGABRT])
def test_a_reader_that_dies_costs_one_file(good: bytes, number: signal.Signals) -> None:
    with Footers() as footers:
        assert footers.rows(io.BytesIO(good), "a") == 11
        [child] = readers()
        child.send_signal(number)
        with pytest.raises(SourceError, match="does not survive"):
            footers.rows(io.BytesIO(good), "a")
        assert not child.is_running()
        assert footers.rows(io.BytesIO(good), "a") == 11


def test_no_reader_is_left_behind(good: bytes) -> None:
    with Footers() as footers:
        footers.rows(io.BytesIO(good), "a")
        assert len(readers()) == 1
    assert readers() == []
