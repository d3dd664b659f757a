"""A Redis that lost its last writes is told again of what is on disk: finished shards, ends, pauses and cancels."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from service.jobs.dispatch.finalize import finalize
from service.jobs.dispatch.finishing import Finisher
from service.jobs.dispatch.rebuild import rebuild
from service.jobs.intents import INTENT_FILE
from service.jobs.ledger.control import Control
from service.jobs.ledger.errors import LeaseEnded
from service.jobs.ledger.ledger import Ledger
from service.jobs.shards.marker import Marker, read_marker
from service.jobs.storage.local_store import LocalStore
from service.jobs.submission.submit import write_plan
from service.settings import Settings
from tests.support.ledgers import JOB, LEASE_S, PLAN, Use, claim
from tests.support.shards import make_shards


async def begun(ledger: Ledger, root: Path) -> list[Marker]:
    """A job whose shards are all on disk; returns their markers."""
    await ledger.create(write_plan(LocalStore(root), PLAN))
    make_shards(root, PLAN, range(PLAN.shards))
    markers = [read_marker(LocalStore(root).output(PLAN.prefix), shard) for shard in range(PLAN.shards)]
    return [marker for marker in markers if marker is not None]


async def commit(ledger: Ledger, marker: Marker) -> None:
    lease = await claim(ledger, marker.shard)
    await ledger.commit(lease, digest=marker.digest, images=marker.count, size_bytes=marker.bytes)


def test_finished_shards_whose_commit_was_lost_are_counted_again(with_ledger: Use, tmp_path: Path) -> None:
    async def act(ledger: Ledger) -> None:
        markers = await begun(ledger, tmp_path)
        await commit(ledger, markers[0])
        lease = await claim(ledger, 1)
        assert await rebuild(ledger, LocalStore(tmp_path)) == 0
        view = await ledger.job(JOB)
        assert (view.state, view.shards_done, view.shards_running, view.attempts) == ("FINALIZING", 3, 0, 3)
        assert (view.images_done, view.images_committed) == (10, 10)
        assert view.bytes_committed == sum(marker.bytes for marker in markers)
        assert [shard.digest for shard in await ledger.shards(JOB, first=0, limit=9)] == [m.digest for m in markers]
        with pytest.raises(LeaseEnded):
            await ledger.renew(lease, lease_s=LEASE_S, done=1)
        await ledger.commit(lease, digest=markers[1].digest, images=4, size_bytes=markers[1].bytes)
        assert (await ledger.job(JOB)).shards_done == 3

    with_ledger(act)


def test_a_shard_that_is_cut_short_is_not_counted(with_ledger: Use, tmp_path: Path) -> None:
    async def act(ledger: Ledger) -> None:
        await begun(ledger, tmp_path)
        tar = next((tmp_path / PLAN.prefix / "data").glob("*-00001-*.tar"))
        tar.write_bytes(tar.read_bytes()[:-1])
        await Control(ledger).pause(JOB)
        await rebuild(ledger, LocalStore(tmp_path))
        view = await ledger.job(JOB)
        assert (view.state, view.shards_done, view.images_done) == ("PAUSED", 2, 6)
        states = [shard.state for shard in await ledger.shards(JOB, first=0, limit=9)]
        assert states == ["DONE", "READY", "DONE"]

    with_ledger(act)


def test_a_shard_that_is_to_be_made_again_is_not_counted(with_ledger: Use, tmp_path: Path) -> None:
    async def act(ledger: Ledger) -> None:
        for marker in await begun(ledger, tmp_path):
            await commit(ledger, marker)
        view = await ledger.job(JOB)
        await Control(ledger).remake(view, [1])
        await Control(ledger).mend(view)
        await rebuild(ledger, LocalStore(tmp_path))
        view = await ledger.job(JOB)
        assert (view.state, view.shards_done) == ("RUNNING", 2)

    with_ledger(act)


@pytest.mark.parametrize("cancelled", [True, False])
def test_a_job_whose_end_was_lost_ends_as_it_did(with_ledger: Use, tmp_path: Path, cancelled: bool) -> None:
    async def act(ledger: Ledger) -> None:
        store = LocalStore(tmp_path)
        await ledger.create(write_plan(store, PLAN))
        make_shards(tmp_path, PLAN, [0])
        ended = finalize(store, PLAN, cancelled=cancelled, errors={} if cancelled else {1: "BAD: x", 2: "BAD: y"})
        await rebuild(ledger, store)
        assert await ledger.ending() == [JOB] and (await ledger.job(JOB)).state == "FINALIZING"
        finisher = Finisher(Settings.model_validate({"state_dir": tmp_path}), ledger, store)
        finisher.begin([JOB])
        async with asyncio.timeout(60):
            while not (view := await ledger.job(JOB)).terminal:
                await asyncio.sleep(0.02)
        assert (view.state, view.error, view.root_digest) == (ended.state, ended.error, ended.root_digest)
        await finisher.close()

    with_ledger(act)


def test_a_pause_and_a_cancel_that_were_lost_hold_again(with_ledger: Use, tmp_path: Path) -> None:
    async def act(ledger: Ledger) -> None:
        await begun(ledger, tmp_path)
        next((tmp_path / PLAN.prefix / ".mintage").glob("000001.json")).unlink()
        intent = tmp_path / PLAN.prefix / INTENT_FILE
        for word, state in (("paused", "PAUSED"), ("cancelled", "CANCELLING")):
            intent.write_text(f"{word}\n")
            await rebuild(ledger, LocalStore(tmp_path))
            assert (await ledger.job(JOB)).state == state

    with_ledger(act)
