"""Leases of shards: claimed, renewed, committed, given back, lost."""

from __future__ import annotations

import pytest

from service.jobs.ledger.errors import LeaseEnded
from service.jobs.ledger.ledger import Ledger
from tests.support.ledgers import DIGEST, JOB, LEASE_S, PLAN, Use, claim, dispatch, refused, wait_for_expiry
from tests.support.plans import sample_plan, sampling


def test_a_shard_is_leased_to_one_worker_at_a_time(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        lease = await claim(ledger)
        assert lease.attempt == 1
        assert await refused(ledger, 0) == "leased"
        await ledger.commit(lease, digest=DIGEST, images=4, size_bytes=100)
        assert await refused(ledger, 0) == "done"
        assert await refused(ledger, 3) == await refused(ledger, 999) == "unknown"
        assert await ledger.claim("nojob", 0, owner="o", worker="w", lease_s=1) == "unknown"

    with_ledger(act)


def test_a_claim_whose_answer_was_lost_can_be_asked_again(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        assert await claim(ledger, owner="me") == await claim(ledger, owner="me")
        assert (await ledger.job(JOB)).attempts == 1

    with_ledger(act)


def test_a_lease_that_is_not_renewed_is_taken_back_and_its_holder_fenced(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        zombie = await claim(ledger, lease_s=0.01)
        assert await wait_for_expiry(ledger) == [zombie]
        lease = await claim(ledger, owner="second")
        assert lease.attempt == 2
        with pytest.raises(LeaseEnded, match="fenced"):
            await ledger.renew(zombie, lease_s=LEASE_S, done=4)
        with pytest.raises(LeaseEnded, match="fenced"):
            await ledger.commit(zombie, digest=DIGEST, images=4, size_bytes=100)
        await ledger.fail(zombie, "BAD: zombie", max_attempts=1, pause_s=0)
        await ledger.hand_back(zombie)
        await ledger.commit(lease, digest=DIGEST, images=4, size_bytes=100)
        assert (await ledger.job(JOB)).shards_done == 1

    with_ledger(act)


def test_whoever_comes_second_with_the_same_bytes_agrees(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        zombie = await claim(ledger, lease_s=0.01)
        await wait_for_expiry(ledger)
        lease = await claim(ledger, owner="second")
        await ledger.commit(lease, digest=DIGEST, images=4, size_bytes=100)
        await ledger.commit(zombie, digest=DIGEST, images=4, size_bytes=100)
        with pytest.raises(LeaseEnded):
            await ledger.commit(zombie, digest="e" * 64, images=4, size_bytes=100)
        view = await ledger.job(JOB)
        assert (view.shards_done, view.images_committed) == (1, 4)

    with_ledger(act)


def test_a_commit_after_the_lease_ran_out_counts_if_nobody_else_came(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        lease = await claim(ledger, lease_s=0.01)
        await wait_for_expiry(ledger)
        await ledger.commit(lease, digest=DIGEST, images=4, size_bytes=100)
        assert await refused(ledger, 0) == "done"
        view = await ledger.job(JOB)
        assert (view.shards_done, view.shards_running) == (1, 0)

    with_ledger(act)


def test_a_shard_fails_for_good_after_its_last_attempt(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        for attempt in (1, 2, 3):
            lease = await claim(ledger, owner=str(attempt))
            await ledger.fail(lease, f"BAD: number {attempt}", max_attempts=3, pause_s=0)
        assert await refused(ledger, 0) == "failed"
        shard = (await ledger.shards(JOB, first=0, limit=1))[0]
        assert (shard.state, shard.attempt, shard.error) == ("FAILED", 3, "BAD: number 3")
        assert (await ledger.job(JOB)).shards_failed == 1

    with_ledger(act)


def test_a_failed_attempt_waits_before_the_next(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        await ledger.fail(await claim(ledger), "BAD: once", max_attempts=3, pause_s=60)
        assert await refused(ledger, 0) == "wait"
        await ledger.heartbeat("w", 9)
        assert await dispatch(ledger) == [1, 2]

    with_ledger(act)


def test_handing_back_is_no_failure(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        for attempt in range(1, 6):
            lease = await claim(ledger, owner=str(attempt))
            assert lease.attempt == attempt
            await ledger.hand_back(lease)
        view = await ledger.job(JOB)
        assert (view.attempts, view.shards_running, view.shards_failed, view.state) == (5, 0, 0, "RUNNING")

    with_ledger(act)


def test_progress_never_falls(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        lease = await claim(ledger)
        seen = []
        await ledger.renew(lease, lease_s=LEASE_S, done=3)
        seen.append((await ledger.job(JOB)).images_done)
        await ledger.renew(lease, lease_s=LEASE_S, done=2)
        seen.append((await ledger.job(JOB)).images_done)
        await ledger.fail(lease, "BAD: lost", max_attempts=3, pause_s=0)
        seen.append((await ledger.job(JOB)).images_done)
        lease = await claim(ledger, owner="second")
        await ledger.renew(lease, lease_s=LEASE_S, done=1)
        seen.append((await ledger.job(JOB)).images_done)
        await ledger.commit(lease, digest=DIGEST, images=4, size_bytes=100)
        seen.append((await ledger.job(JOB)).images_done)
        assert seen == [3, 3, 3, 3, 4]

    with_ledger(act)


def test_a_job_says_what_keeps_an_attempt_from_going_on_until_images_are_made(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        lease = await claim(ledger)
        said = []
        for done, trouble in ((1, ""), (1, "STORE_UNAVAILABLE: it is away"), (1, ""), (2, "")):
            await ledger.renew(lease, lease_s=LEASE_S, done=done, trouble=trouble)
            said.append((await ledger.job(JOB)).wait_reason)
        assert said == ["", "STORE_UNAVAILABLE: it is away", "STORE_UNAVAILABLE: it is away", ""]

    with_ledger(act)


def test_the_bound_on_speed_holds_over_all_workers(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(sample_plan(sampling=sampling(seed=0, max_images_per_second=0.1)))
        leases = [await claim(ledger, shard) for shard in (0, 1)]
        waits = []
        for lease in leases * 2:
            waits.append(await ledger.renew(lease, lease_s=60, done=0, wanted=5, max_images_per_second=0.1))
        assert waits[0] == 0
        assert waits[1:] == pytest.approx([50, 100, 150], abs=10)
        assert await ledger.renew(leases[0], lease_s=60, done=0) == 0

    with_ledger(act)
