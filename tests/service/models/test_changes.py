"""How far a load is can be told by every API process, and how it ended."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from pathlib import Path

import grpc
import pytest

from service.errors import FailedPrecondition
from service.models.changes import KEPT_S, ORPHANED_S, Changes
from service.models.loader import Loader
from service.models.registry import Registry
from tests.support.archives import write_archive
from tests.support.model_server import FakeModelServer
from tests.support.world import run, until


def age(folder: Path, seconds: float) -> None:
    """Let the file of model `digits` be older."""
    then = time.time() - seconds
    os.utime(folder / "changes" / "digits.json", (then, then))


def test_a_change_is_told_by_any_process_until_long_after_its_end(tmp_path: Path) -> None:
    async def test() -> None:
        changes, another = Changes(tmp_path), Changes(tmp_path)
        assert another.last("digits") is None and another.under_way() == []
        progress = changes.begin("digits", archive="a.mar", workers=2)
        async with changes.made(progress):
            progress.reached("proving", 3, 10)
            seen = another.last("digits")
            assert seen is not None and seen == changes.last("digits")
            assert (seen.stage, seen.sizes_tried, seen.sizes_total, seen.under_way) == ("proving", 3, 10, True)
            assert [change.model for change in another.under_way()] == ["digits"]
        ended = another.last("digits")
        assert ended is not None and ended.stage == "succeeded" and ended.end_time >= ended.start_time
        assert another.under_way() == []
        age(tmp_path, KEPT_S + 1)
        assert another.last("digits") is None and not list((tmp_path / "changes").iterdir())

    run(test())


@pytest.mark.parametrize(
    ("error", "code", "reason", "message"),
    [
        (FailedPrecondition("too old", reason="ARCHIVE_FORMAT"), "FAILED_PRECONDITION", "ARCHIVE_FORMAT", "too old"),
        (OSError(errno.ENOSPC, "full"), "RESOURCE_EXHAUSTED", "NO_SPACE", "a disk of the server is full"),
        (asyncio.CancelledError(), "UNAVAILABLE", "SHUTTING_DOWN", "the server shut down meanwhile; ask again"),
        (ZeroDivisionError("secret"), "INTERNAL", "INTERNAL", "internal error; the server's log says more"),
    ],
)
def test_a_change_that_fails_says_why(
    tmp_path: Path, error: BaseException, code: str, reason: str, message: str
) -> None:
    async def test() -> None:
        changes = Changes(tmp_path)
        with pytest.raises(type(error)):
            async with changes.made(changes.begin("digits", archive="a.mar", workers=1)):
                raise error
        change = Changes(tmp_path).last("digits")
        assert change is not None and change.stage == "failed"
        assert change.error_code == grpc.StatusCode[code].value[0]
        assert (change.error_reason, change.error_message) == (reason, message)

    run(test())


def test_a_change_whose_process_is_gone_has_failed(tmp_path: Path) -> None:
    Changes(tmp_path).begin("digits", archive="a.mar", workers=1)
    another = Changes(tmp_path)
    change = another.last("digits")
    assert change is not None and change.under_way
    age(tmp_path, ORPHANED_S + 1)
    change = another.last("digits")
    assert change is not None and (change.stage, change.error_reason) == ("failed", "CHANGE_LOST")
    (tmp_path / "changes" / "digits.json").write_text("{")
    assert another.last("digits") is None


def test_where_nothing_can_be_written_this_process_still_knows(tmp_path: Path) -> None:
    (tmp_path / "changes").write_text("a file where the folder should be")

    async def test() -> None:
        changes = Changes(tmp_path)
        progress = changes.begin("digits", archive="a.mar", workers=1)
        async with changes.made(progress):
            progress.reached("copying")
            change = changes.last("digits")
            assert change is not None and change.stage == "copying"
        change = changes.last("digits")
        assert change is not None and change.stage == "succeeded"

    run(test())


def test_a_load_passes_its_stages_and_one_that_waits_is_shown_after_it(tmp_path: Path) -> None:
    async def test() -> None:
        models, registry = FakeModelServer(tmp_path), Registry(tmp_path)
        loader = Loader(models, registry, response_timeout_s=1)
        write_archive(tmp_path / "a.mar", "generator 1")
        write_archive(tmp_path / "b.mar", "broken")

        def shown() -> tuple[str, str]:
            change = loader.changes.last("digits")
            assert change is not None
            return change.archive, change.stage

        models.proofs.clear()
        first = loader.begin_load("digits", "a.mar", 1)
        second = loader.begin_load("digits", "b.mar", 1)
        assert shown() == ("a.mar", "waiting")
        await until(lambda: shown() == ("a.mar", "answering"))
        models.proofs.set()
        await first
        with pytest.raises(FailedPrecondition):
            await second
        assert shown() == ("b.mar", "failed")
        await loader.scale("digits", 2)
        assert shown() == ("", "succeeded")
        await loader.unload("digits")
        assert loader.changes.last("digits") is None and not list((tmp_path / "changes").iterdir())

    run(test())


def test_the_tried_sizes_of_a_proof_are_told(tmp_path: Path) -> None:
    async def test() -> None:
        models = FakeModelServer(tmp_path, proof=(3, 10))
        models.registers.clear()
        loader = Loader(models, Registry(tmp_path), response_timeout_s=1)
        write_archive(tmp_path / "a.mar", "generator 1")
        loading = loader.begin_load("digits", "a.mar", 1)
        await until(lambda: (change := loader.changes.last("digits")) is not None and change.sizes_tried == 3)
        models.registers.set()
        await loading

    run(test())
