"""Who gets the workers, counted in shards handed out; no clock is looked at."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest

from service.jobs.ledger.connection import connect
from service.jobs.ledger.control import Control
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import Lease
from service.jobs.messages.app import QUEUE_KEY
from service.jobs.plan import Plan
from service.settings import Settings
from tests.support.plans import sample_plan
from tests.support.valkey import Valkey

SLOTS = 4


def plan_of(number: int, client: str = "", priority: int = 0) -> Plan:
    """A job of 100,000 shards."""
    job = f"01{number:04d}"
    return sample_plan(job=job, count=100_000, shard_size=1, client=client, priority=priority)


async def hand_out(ledger: Ledger, shards: int) -> Counter[str]:
    """Let workers claim what the dispatcher chooses, until so many shards are out; returns how many each job got."""
    got: Counter[str] = Counter()
    await ledger.heartbeat("w", SLOTS)
    while got.total() < shards:
        found = await ledger.dispatch(QUEUE_KEY, per_slot=2, lost_after_s=60, dead_after_s=60)
        for job, shard in found.hints:
            lease = await ledger.claim(job, shard, owner=f"{job} {shard}", worker="w", lease_s=60)
            assert isinstance(lease, Lease)
            got[job] += 1
    return got


def shares(valkey: Valkey, plans: Sequence[Plan], shards: int) -> Counter[str]:
    """What each job got of the first shards handed out."""

    async def act() -> Counter[str]:
        client = connect(Settings.model_validate({"redis_url": valkey.url}))
        try:
            ledger = Ledger(client)
            for plan in plans:
                await ledger.create(plan)
            return await hand_out(ledger, shards)
        finally:
            await client.aclose()

    return asyncio.run(act())


def jain(values: Sequence[float]) -> float:
    """Jain's index of fairness, from 1 / n to 1."""
    return sum(values) ** 2 / (len(values) * sum(value**2 for value in values))


def test_a_hundred_jobs_of_different_clients_share_fairly(valkey: Valkey) -> None:
    got = shares(valkey, [plan_of(number, client=f"client{number}") for number in range(100)], 1000)
    assert len(got) == 100 and jain(list(got.values())) >= 0.99


def test_many_jobs_give_a_client_no_more_than_one_does(valkey: Valkey) -> None:
    greedy = [plan_of(number, client="greedy", priority=10) for number in range(30)]
    modest = [plan_of(100 + number, client=f"modest{number}", priority=-10) for number in range(4)]
    got = shares(valkey, [*greedy, *modest], 400)
    of_greedy = sum(got[plan.job] for plan in greedy)
    assert jain([of_greedy, *(got[plan.job] for plan in modest)]) >= 0.99
    assert jain([got[plan.job] for plan in greedy]) >= 0.95


def test_however_many_jobs_are_open_each_takes_its_turn(valkey: Valkey) -> None:
    crowd = [plan_of(number, client="crowd") for number in range(1500)]
    late = plan_of(9999, client="late")
    got = shares(valkey, [*crowd, late], 3000)
    assert got.pop(late.job) == pytest.approx(1500, abs=2)
    assert len(got) == 1500 and set(got.values()) == {1}


def test_whoever_waits_with_a_failed_shard_holds_nobody_up_and_is_not_forgotten(valkey: Valkey) -> None:
    async def act() -> None:
        client = connect(Settings.model_validate({"redis_url": valkey.url}))
        ledger = Ledger(client)
        waiting = sample_plan(job="01a", count=1, shard_size=1)
        await ledger.create(waiting)
        lease = await ledger.claim("01a", 0, owner="o", worker="w", lease_s=60)
        assert isinstance(lease, Lease)
        await ledger.fail(lease, "BAD: so", max_attempts=3, pause_s=60)
        other = plan_of(1)
        await ledger.create(other)
        assert await hand_out(ledger, 40) == {other.job: 40}
        await client.zadd("mintage:waiting", {"01a": 1}, xx=True)  # a minute passes
        await client.zadd("mintage:job:01a:ready", {"0": 1}, xx=True)
        assert (await hand_out(ledger, 40))["01a"] == 1
        await client.aclose()

    asyncio.run(act())


def test_a_job_that_comes_back_after_all_were_idle_owes_nothing_for_its_past(valkey: Valkey) -> None:
    async def act() -> None:
        client = connect(Settings.model_validate({"redis_url": valkey.url}))
        ledger = Ledger(client)
        first, second = plan_of(1), plan_of(2)
        await ledger.create(first)
        await hand_out(ledger, 200)
        await Control(ledger).pause(first.job)
        await ledger.dispatch(QUEUE_KEY, per_slot=2, lost_after_s=60, dead_after_s=60)
        await ledger.create(second)
        await Control(ledger).resume(first.job)
        got = await hand_out(ledger, 100)
        assert got[first.job] == pytest.approx(50, abs=2)
        await client.aclose()

    asyncio.run(act())


def test_priority_weighs_the_jobs_of_one_client_and_starves_none(valkey: Valkey) -> None:
    plans = [plan_of(number, priority=priority) for number, priority in enumerate((-10, 0, 3))]
    got = shares(valkey, plans, 1600)
    low, normal, high = (got[plan.job] for plan in plans)
    assert high / normal == pytest.approx(1.25**3, rel=0.02)
    assert low / normal == pytest.approx(1.25**-10, rel=0.05)


def test_whoever_comes_late_gets_their_share_and_no_more(valkey: Valkey) -> None:
    async def act() -> None:
        client = connect(Settings.model_validate({"redis_url": valkey.url}))
        ledger = Ledger(client)
        first, late, paused = plan_of(1, "a"), plan_of(2, "b"), plan_of(3, "a")
        await ledger.create(first)
        await ledger.create(paused)
        await Control(ledger).pause(paused.job)
        assert await hand_out(ledger, 400) == {first.job: 400}
        await ledger.create(late)
        await Control(ledger).resume(paused.job)
        got = await hand_out(ledger, 400)
        assert got[late.job] == pytest.approx(200, abs=4)
        assert got[first.job] == pytest.approx(100, abs=4)
        await client.aclose()

    asyncio.run(act())
