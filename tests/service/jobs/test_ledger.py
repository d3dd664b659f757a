from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from service.errors import AlreadyExists, NotFound, ResourceExhausted, Unavailable
from service.jobs.broker import QUEUE_KEY
from service.jobs.ledger import LeaseEnded, Ledger, connect
from service.jobs.plan import Sampling
from service.jobs.views import Lease
from service.settings import Settings
from tests.service.jobs.plans import sample_plan
from tests.valkey import Valkey, free_port

PLAN = sample_plan()
JOB = PLAN.job
DIGEST = "d" * 64
LEASE_S = 60.0

Use = Callable[[Callable[[Ledger], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def with_ledger(valkey: Valkey) -> Use:
    """Run a coroutine function with a ledger on the empty Valkey."""

    def use(act: Callable[[Ledger], Coroutine[Any, Any, None]]) -> None:
        async def run() -> None:
            client = connect(Settings.model_validate({"redis_url": valkey.url}))
            try:
                await act(Ledger(client))
            finally:
                await client.aclose()

        asyncio.run(run())

    return use


async def claim(ledger: Ledger, shard: int = 0, *, owner: str = "", lease_s: float = LEASE_S, job: str = JOB) -> Lease:
    lease = await ledger.claim(job, shard, owner=owner or f"owner {shard}", worker="w", lease_s=lease_s)
    assert isinstance(lease, Lease), lease
    return lease


async def refused(ledger: Ledger, shard: int, owner: str = "other") -> str:
    answer = await ledger.claim(JOB, shard, owner=owner, worker="w", lease_s=LEASE_S)
    assert isinstance(answer, str)
    return answer


async def wait_for_expiry(ledger: Ledger, *, max_attempts: int = 3) -> list[Lease]:
    async with asyncio.timeout(5):
        while not (ended := await ledger.expire(max_attempts=max_attempts, pause_s=0)):
            await asyncio.sleep(0.005)
    return ended


async def dispatch(ledger: Ledger, per_slot: int = 2, lost_after_s: float = 60) -> list[int]:
    found = await ledger.dispatch(QUEUE_KEY, per_slot=per_slot, lost_after_s=lost_after_s, dead_after_s=60)
    return [shard for _, shard in found.hints]


def test_a_job_goes_from_queued_to_succeeded(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        assert await ledger.create(PLAN)
        assert (await ledger.job(JOB)).state == "QUEUED"
        for shard in range(PLAN.shards):
            lease = await claim(ledger, shard)
            assert (await ledger.job(JOB)).state == "RUNNING"
            await ledger.renew(lease, lease_s=LEASE_S, done=1)
            await ledger.commit(lease, digest=DIGEST, images=len(PLAN.span(shard)))
        view = await ledger.job(JOB)
        assert (view.state, view.images_done, view.images_committed, view.shards_done) == ("FINALIZING", 10, 10, 3)
        assert await ledger.ending() == [JOB]
        assert await ledger.finish(JOB, "FINALIZING", "SUCCEEDED", root_digest=DIGEST, result='{"mean": 1.5}')
        view = await ledger.job(JOB)
        assert view.terminal and view.root_digest == DIGEST and view.result == {"mean": 1.5}
        assert view.end_time_ms >= view.start_time_ms > 0 and await ledger.ending() == []

    with_ledger(act)


def test_creating_a_job_again_changes_nothing(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        assert await ledger.create(PLAN)
        await claim(ledger)
        assert not await ledger.create(PLAN)
        assert (await ledger.job(JOB)).shards_running == 1

    with_ledger(act)


def test_a_request_id_belongs_to_one_job_and_its_parameters(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        assert await ledger.reserve("r", "a" * 64, "job1") == "job1"
        assert await ledger.reserve("r", "a" * 64, "job2") == "job1"
        with pytest.raises(AlreadyExists, match="jobs/job1 with other parameters"):
            await ledger.reserve("r", "b" * 64, "job3")
        await ledger.release("r", "job1")
        assert await ledger.reserve("r", "b" * 64, "job3") == "job3"

    with_ledger(act)


def test_a_request_id_whose_job_exists_is_not_released(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.reserve("r", "0" * 64, JOB)
        await ledger.create(PLAN)
        await ledger.release("r", JOB)
        assert await ledger.reserve("r", "0" * 64, "other") == JOB

    with_ledger(act)


def test_a_shard_is_leased_to_one_worker_at_a_time(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        lease = await claim(ledger)
        assert lease.attempt == 1
        assert await refused(ledger, 0) == "leased"
        await ledger.commit(lease, digest=DIGEST, images=4)
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
            await ledger.commit(zombie, digest=DIGEST, images=4)
        await ledger.fail(zombie, "BAD: zombie", max_attempts=1, pause_s=0)
        await ledger.hand_back(zombie)
        await ledger.commit(lease, digest=DIGEST, images=4)
        assert (await ledger.job(JOB)).shards_done == 1

    with_ledger(act)


def test_whoever_comes_second_with_the_same_bytes_agrees(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        zombie = await claim(ledger, lease_s=0.01)
        await wait_for_expiry(ledger)
        lease = await claim(ledger, owner="second")
        await ledger.commit(lease, digest=DIGEST, images=4)
        await ledger.commit(zombie, digest=DIGEST, images=4)
        with pytest.raises(LeaseEnded):
            await ledger.commit(zombie, digest="e" * 64, images=4)
        view = await ledger.job(JOB)
        assert (view.shards_done, view.images_committed) == (1, 4)

    with_ledger(act)


def test_a_commit_after_the_lease_ran_out_counts_if_nobody_else_came(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        lease = await claim(ledger, lease_s=0.01)
        await wait_for_expiry(ledger)
        await ledger.commit(lease, digest=DIGEST, images=4)
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
        await ledger.beat("w", 9)
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
        await ledger.commit(lease, digest=DIGEST, images=4)
        seen.append((await ledger.job(JOB)).images_done)
        assert seen == [3, 3, 3, 3, 4]

    with_ledger(act)


def test_a_cancelled_job_tells_its_workers_and_starts_no_more_shards(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        lease = await claim(ledger)
        await ledger.cancel(JOB)
        assert (await ledger.job(JOB)).state == "CANCELLING"
        assert await refused(ledger, 1) == "stopped"
        assert await ledger.ending() == []
        with pytest.raises(LeaseEnded, match="cancelled"):
            await ledger.renew(lease, lease_s=LEASE_S, done=1)
        assert not await ledger.finish(JOB, "CANCELLING", "CANCELLED")
        await ledger.hand_back(lease)
        assert await ledger.ending() == [JOB]
        assert await ledger.finish(JOB, "CANCELLING", "CANCELLED")
        await ledger.cancel(JOB)
        assert (await ledger.job(JOB)).state == "CANCELLED"
        await ledger.beat("w", 9)
        assert await dispatch(ledger) == []

    with_ledger(act)


def test_cancelling_what_does_not_exist_is_an_error(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        for ask in (ledger.cancel("x"), ledger.job("x"), ledger.shards("x", first=0, limit=1)):
            with pytest.raises(NotFound, match="jobs/x does not exist"):
                await ask
        assert await ledger.revision("x") == 0

    with_ledger(act)


def test_the_bound_on_speed_holds_over_all_workers(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(sample_plan(sampling=Sampling(seed=0, max_images_per_second=10.0)))
        leases = [await claim(ledger, shard) for shard in (0, 1)]
        waits = []
        for lease in leases * 2:
            waits.append(await ledger.renew(lease, lease_s=60, done=0, wanted=5, max_images_per_second=10.0))
        assert waits[0] == 0
        assert waits[1:] == pytest.approx([0.5, 1.0, 1.5], abs=0.1)
        assert await ledger.renew(leases[0], lease_s=60, done=0) == 0

    with_ledger(act)


def test_hints_go_out_as_slots_allow_and_each_shard_once(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        assert await dispatch(ledger) == []  # nobody works
        await ledger.beat("w", 1)
        assert await dispatch(ledger) == [0, 1]
        assert await dispatch(ledger) == []
        await claim(ledger, 1)
        assert await dispatch(ledger) == [2]
        await claim(ledger, 0)
        await claim(ledger, 2)
        assert await dispatch(ledger) == []

    with_ledger(act)


def test_a_shard_that_came_back_goes_out_again(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        await ledger.beat("w", 5)
        assert await dispatch(ledger) == [0, 1, 2]
        await ledger.hand_back(await claim(ledger, 1))
        assert await dispatch(ledger) == [1]

    with_ledger(act)


def test_a_hint_that_left_the_queue_unclaimed_is_sent_again(with_ledger: Use, valkey: Valkey) -> None:
    async def act(ledger: Ledger) -> None:
        client = valkey.client()
        await ledger.create(PLAN)
        await ledger.beat("w", 1)
        assert await dispatch(ledger) == [0, 1]
        client.rpush(QUEUE_KEY, "0", "1")
        assert await dispatch(ledger, lost_after_s=-1) == []  # old, but still in the queue
        client.lpop(QUEUE_KEY)
        assert await dispatch(ledger, lost_after_s=60) == []  # taken a moment ago, perhaps being claimed
        assert len(await dispatch(ledger, lost_after_s=-1)) == 1
        client.delete(QUEUE_KEY)
        assert sorted(await dispatch(ledger, lost_after_s=-1)) == [0, 1]
        client.close()

    with_ledger(act)


def test_a_worker_that_left_or_fell_silent_gets_no_hints(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        await ledger.beat("w", 1)
        await ledger.beat("w", 0)
        assert await dispatch(ledger) == []
        await ledger.beat("v", 1)
        silent = await ledger.dispatch(QUEUE_KEY, per_slot=2, lost_after_s=60, dead_after_s=-1)
        assert (silent.slots, silent.hints) == (0, [])

    with_ledger(act)


def test_jobs_take_turns_the_oldest_first(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        for job in ("01b", "01a"):
            await ledger.create(sample_plan(job=job))
        await ledger.beat("w", 2)
        found = await ledger.dispatch(QUEUE_KEY, per_slot=2, lost_after_s=60, dead_after_s=60)
        assert found.hints == [("01a", 0), ("01b", 0), ("01a", 1), ("01b", 1)]

    with_ledger(act)


def test_jobs_that_are_not_there_are_told(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        assert await ledger.unknown([JOB, "014"]) == ["014"]
        assert [view.plan.job for view in await ledger.views([JOB, "014"])] == [JOB]

    with_ledger(act)


def test_every_change_raises_the_revision(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        revisions = [await ledger.revision(JOB)]
        lease = await claim(ledger)
        revisions.append(await ledger.revision(JOB))
        await ledger.renew(lease, lease_s=LEASE_S, done=1)
        revisions.append(await ledger.revision(JOB))
        await ledger.commit(lease, digest=DIGEST, images=4)
        revisions.append(await ledger.revision(JOB))
        await ledger.cancel(JOB)
        revisions.append(await ledger.revision(JOB))
        assert revisions == sorted(set(revisions))
        assert (await ledger.job(JOB)).revision == revisions[-1]

    with_ledger(act)


def test_one_dispatcher_leads_at_a_time(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        assert await ledger.lead("a", lease_s=60)
        assert not await ledger.lead("b", lease_s=60)
        assert await ledger.lead("a", lease_s=60)
        assert not await ledger.lead("a", lease_s=0)
        assert await ledger.lead("b", lease_s=0.01)
        async with asyncio.timeout(5):
            while not await ledger.lead("a", lease_s=60):
                await asyncio.sleep(0.005)

    with_ledger(act)


def test_recent_speed_follows_what_is_done(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        plan = sample_plan(count=100_000, shard_size=100_000)
        await ledger.create(plan)
        lease = await claim(ledger)
        assert (await ledger.job(JOB)).images_per_second == 0
        await asyncio.sleep(0.05)
        await ledger.renew(lease, lease_s=60, done=1000)
        first = (await ledger.job(JOB)).images_per_second
        assert 1000 < first <= 1000 / 0.045

    with_ledger(act)


def test_a_redis_that_does_not_answer_is_unavailable() -> None:
    async def act() -> None:
        client = connect(Settings.model_validate({"redis_url": f"redis://127.0.0.1:{free_port()}/0"}))
        with pytest.raises(Unavailable, match="does not answer"):
            await Ledger(client).job(JOB)
        with pytest.raises(Unavailable, match="does not answer"):
            await Ledger(client).revision(JOB)
        await client.aclose()

    asyncio.run(act())


def test_a_full_redis_is_overloaded_and_can_still_be_read(with_ledger: Use, valkey: Valkey) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        client = valkey.client()
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(ResourceExhausted, match="full"):
                await ledger.create(sample_plan(job="01b"))
            with pytest.raises(ResourceExhausted, match="full"):
                await ledger.restore_shards(JOB, {0: DIGEST}, {})
            assert (await ledger.job(JOB)).revision == await ledger.revision(JOB) == 1
        finally:
            client.config_set("maxmemory", 0)
            client.close()

    with_ledger(act)
