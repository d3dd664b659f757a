"""Which hints go out."""

from __future__ import annotations

import asyncio

from service.jobs.ledger.ledger import Ledger
from service.jobs.messages.app import QUEUE_KEY
from tests.support.ledgers import PLAN, Use, claim, dispatch
from tests.support.plans import sample_plan
from tests.support.valkey import Valkey


def test_hints_go_out_as_slots_allow_and_each_shard_once(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        assert await dispatch(ledger) == []  # nobody works
        await ledger.heartbeat("w", 1)
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
        await ledger.heartbeat("w", 5)
        assert await dispatch(ledger) == [0, 1, 2]
        await ledger.hand_back(await claim(ledger, 1))
        assert await dispatch(ledger) == [1]

    with_ledger(act)


def test_a_hint_that_left_the_queue_unclaimed_is_sent_again(with_ledger: Use, valkey: Valkey) -> None:
    async def act(ledger: Ledger) -> None:
        client = valkey.client()
        await ledger.create(PLAN)
        await ledger.heartbeat("w", 1)
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
        await ledger.heartbeat("w", 1)
        await ledger.heartbeat("w", 0)
        assert await dispatch(ledger) == []
        await ledger.heartbeat("v", 1)
        silent = await ledger.dispatch(QUEUE_KEY, per_slot=2, lost_after_s=60, dead_after_s=-1)
        assert (silent.slots, silent.hints) == (0, [])

    with_ledger(act)


def test_jobs_take_turns_the_oldest_first(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        for job in ("01b", "01a"):
            await ledger.create(sample_plan(job=job))
        await ledger.heartbeat("w", 2)
        found = await ledger.dispatch(QUEUE_KEY, per_slot=2, lost_after_s=60, dead_after_s=60)
        assert found.hints == [("01a", 0), ("01b", 0), ("01a", 1), ("01b", 1)]

    with_ledger(act)


def test_one_dispatcher_leads_at_a_time(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        assert await ledger.lead("a", lease_s=60)
        assert not await ledger.lead("b", lease_s=60)
        assert await ledger.lead("a", lease_s=60)
        assert not await ledger.lead("a", lease_s=0)
        assert await ledger.lead("b", lease_s=0.01)
        async with asyncio.timeout(60):
            while not await ledger.lead("a", lease_s=60):
                await asyncio.sleep(0.005)

    with_ledger(act)
