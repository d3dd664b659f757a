"""A turn of the dispatcher: what it does, and that it is one round trip."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio import Connection

from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.turn import Rules, take_turn
from service.jobs.ledger.views import Lease
from service.jobs.messages.app import QUEUE_KEY
from tests.support.ledgers import DIGEST, JOB, PLAN, Use, claim
from tests.support.plans import sample_plan
from tests.support.valkey import Valkey

RULES = Rules(lease_s=60, max_attempts=3, pause_s=0, queue_key=QUEUE_KEY, per_slot=2, lost_after_s=60, dead_after_s=60)


def test_a_turn_takes_leases_back_hands_out_shards_and_names_what_ends(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        short = sample_plan(job="01b", count=5, shard_size=5)
        for plan in (PLAN, short):
            await ledger.create(plan)
        await ledger.heartbeat("w", 1)
        await claim(ledger, 2, lease_s=-1)
        await ledger.commit(await claim(ledger, job=short.job), digest=DIGEST, images=5, size_bytes=1)
        turn = await take_turn(ledger, "a", await ledger.incarnation(), RULES)
        assert turn.leads and turn.incarnation == await ledger.incarnation()
        assert turn.ended == [Lease(JOB, 2, 1)] and turn.ending == [short.job]
        assert turn.dispatch is not None and turn.dispatch.busy
        assert sorted(turn.dispatch.hints) == [(JOB, 0), (JOB, 2)]

    with_ledger(act)


def test_nothing_is_done_before_what_redis_lost_is_indexed_again(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        await ledger.heartbeat("w", 1)
        before = await ledger.incarnation()
        await ledger.note_indexed(await ledger.incarnation())
        turn = await take_turn(ledger, "a", before, RULES)
        assert turn.leads and turn.dispatch is None and turn.incarnation != before
        assert (await take_turn(ledger, "a", turn.incarnation, RULES)).dispatch is not None

    with_ledger(act)


def test_one_that_does_not_lead_does_nothing(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        await ledger.heartbeat("w", 1)
        assert await ledger.lead("b", lease_s=60)
        turn = await take_turn(ledger, "a", await ledger.incarnation(), RULES)
        assert not turn.leads and turn.dispatch is None
        await ledger.lead("b", lease_s=0)
        assert (await take_turn(ledger, "a", await ledger.incarnation(), RULES)).leads

    with_ledger(act)


def test_a_turn_is_one_round_trip(with_ledger: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[object] = []
    real = Connection.send_packed_command

    async def counted(self: Any, command: Any, check_health: bool = True) -> None:
        sent.append(command)
        await real(self, command, check_health)

    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        await ledger.heartbeat("w", 1)
        indexed = await ledger.incarnation()
        await take_turn(ledger, "a", indexed, RULES)  # Redis learns the script
        monkeypatch.setattr(Connection, "send_packed_command", counted)
        await take_turn(ledger, "a", indexed, RULES)
        assert len(sent) == 1

    with_ledger(act)


def test_a_claim_that_leaves_too_few_hints_wakes_the_dispatcher(with_ledger: Use, valkey: Valkey) -> None:
    async def act(ledger: Ledger) -> None:
        client = valkey.client()
        await ledger.create(sample_plan(count=50, shard_size=5))
        await ledger.heartbeat("w", 1)
        indexed = await ledger.incarnation()
        assert (await take_turn(ledger, "a", indexed, RULES)).dispatch is not None
        client.delete("mintage:wake")
        await claim(ledger, 0)
        assert not client.exists("mintage:wake")  # one hint is left for the one slot
        await claim(ledger, 1)
        assert client.exists("mintage:wake")
        client.close()

    with_ledger(act)
