"""A ledger on a real Valkey, and what workers do with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import Lease
from service.jobs.messages.app import QUEUE_KEY
from tests.support.plans import sample_plan

PLAN = sample_plan()
JOB = PLAN.job
DIGEST = "d" * 64
LEASE_S = 60.0

Use = Callable[[Callable[[Ledger], Coroutine[Any, Any, None]]], None]


async def claim(ledger: Ledger, shard: int = 0, *, owner: str = "", lease_s: float = LEASE_S, job: str = JOB) -> Lease:
    """Lease a shard, which must be possible."""
    lease = await ledger.claim(job, shard, owner=owner or f"owner {shard}", worker="w", lease_s=lease_s)
    assert isinstance(lease, Lease), lease
    return lease


async def refused(ledger: Ledger, shard: int, owner: str = "other") -> str:
    """Ask for a lease in vain; returns why."""
    answer = await ledger.claim(JOB, shard, owner=owner, worker="w", lease_s=LEASE_S)
    assert isinstance(answer, str)
    return answer


async def wait_for_expiry(ledger: Ledger, *, max_attempts: int = 3) -> list[Lease]:
    """Wait until some lease has run out."""
    async with asyncio.timeout(60):
        while not (ended := await ledger.expire(max_attempts=max_attempts, pause_s=0)):
            await asyncio.sleep(0.005)
    return ended


async def dispatch(ledger: Ledger, per_slot: int = 2, lost_after_s: float = 60) -> list[int]:
    """The shards that hints are sent for."""
    found = await ledger.dispatch(QUEUE_KEY, per_slot=per_slot, lost_after_s=lost_after_s, dead_after_s=60)
    return [shard for _, shard in found.hints]
