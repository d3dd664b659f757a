"""Jobs of which more shards have failed than may."""

from __future__ import annotations

import pytest

from service.jobs.ledger.control import RETRY_PAGE, Control
from service.jobs.ledger.errors import LeaseEnded
from service.jobs.ledger.ledger import Ledger
from service.jobs.plan import Plan
from tests.support.ledgers import DIGEST, JOB, LEASE_S, Use, claim, dispatch, refused
from tests.support.plans import sample_plan


def failing_job(most: int = 0) -> Plan:
    """A job of five shards, of which so many may fail."""
    return sample_plan(count=20, max_failed_shards=most)


async def fail(ledger: Ledger, shard: int) -> None:
    await ledger.fail(await claim(ledger, shard, owner=f"fails {shard}"), "BAD: so", max_attempts=1, pause_s=0)


async def state(ledger: Ledger) -> str:
    return (await ledger.job(JOB)).state


def test_one_failure_more_than_may_be_ends_the_job_and_stops_whoever_works_on_it(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(failing_job(1))
        await fail(ledger, 0)
        working, done = await claim(ledger, 2), await claim(ledger, 3)
        assert await state(ledger) == "RUNNING"
        await fail(ledger, 1)
        assert await state(ledger) == "FINALIZING"
        assert await refused(ledger, 4) == "stopped"
        await ledger.heartbeat("w", 9)
        assert await dispatch(ledger) == [] and await ledger.ending() == []
        with pytest.raises(LeaseEnded, match="cancelled"):
            await ledger.renew(working, lease_s=LEASE_S, done=1)
        await ledger.hand_back(working)
        await ledger.commit(done, digest=DIGEST, images=4, size_bytes=100)  # it was on disk already
        assert await ledger.ending() == [JOB]
        assert await ledger.finish(JOB, "FINALIZING", "FAILED", error="TOO_MANY")
        view = await ledger.job(JOB)
        assert (view.shards_done, view.shards_failed, view.shards_running) == (1, 2, 0)

    with_ledger(act)


@pytest.mark.parametrize("hinted", [True, False])
def test_a_retry_makes_all_that_is_missing_also_what_was_never_begun(with_ledger: Use, hinted: bool) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(failing_job())
        await ledger.heartbeat("w", 1)
        if hinted:
            assert await dispatch(ledger) == [0, 1]
        given_back = await claim(ledger, 2)
        await fail(ledger, 0)
        await ledger.hand_back(given_back)
        assert await ledger.finish(JOB, "FINALIZING", "FAILED", error="TOO_MANY")
        await Control(ledger).retry(JOB)
        assert await state(ledger) == "RUNNING"
        await ledger.heartbeat("w", 9)
        assert sorted(await dispatch(ledger)) == [0, 1, 2, 3, 4]
        await fail(ledger, 4)  # and the bound holds again
        assert await state(ledger) == "FINALIZING"

    with_ledger(act)


def test_a_paused_job_gives_up_too_and_a_cancelled_one_stays_cancelled(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(failing_job())
        lease, other = await claim(ledger, 0), await claim(ledger, 1)
        await Control(ledger).pause(JOB)
        await ledger.fail(lease, "BAD: so", max_attempts=1, pause_s=0)
        assert await state(ledger) == "FINALIZING"
        await ledger.cancel(JOB)
        assert await state(ledger) == "FINALIZING"
        await ledger.hand_back(other)
        await ledger.create(sample_plan(job="01x", max_failed_shards=0))
        lease = await claim(ledger, 0, job="01x")
        await ledger.cancel("01x")
        await ledger.fail(lease, "BAD: so", max_attempts=1, pause_s=0)
        assert (await ledger.job("01x")).state == "CANCELLING"

    with_ledger(act)


def test_as_many_failures_as_may_be_change_nothing(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(sample_plan(max_failed_shards=3))
        for shard in range(3):
            assert await state(ledger) != "FINALIZING"
            await fail(ledger, shard)
        assert await state(ledger) == "FINALIZING"

    with_ledger(act)


def test_more_failed_shards_than_one_script_looks_at_are_all_retried_or_none(with_ledger: Use) -> None:
    many = 1200

    async def act(ledger: Ledger) -> None:
        ended: dict[str, str | int] = {"state": "FAILED", "failed": many, "ended": 1}
        await ledger.restore_shards(JOB, {}, dict.fromkeys(range(many), "BAD: so"))
        await ledger.restore(sample_plan(count=4 * many), ended)
        reply = await ledger.run("retry", JOB, "0", RETRY_PAGE)
        assert reply["cursor"] != "0", "this was broken off"
        assert await state(ledger) == "FAILED"
        await Control(ledger).retry(JOB)
        await ledger.heartbeat("w", many)
        assert await state(ledger) == "QUEUED" and sorted(await dispatch(ledger, per_slot=1)) == list(range(many))
        assert (await ledger.job(JOB)).shards_failed == 0

    with_ledger(act)
