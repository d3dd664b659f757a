"""Indexing the jobs whose plan is on disk but not in the ledger: Redis was restarted, or emptied. None is lost."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import structlog

from service.jobs.dispatch.finalize import read_ending
from service.jobs.intents import read_intent
from service.jobs.ledger.ledger import Ledger
from service.jobs.manifest import MANIFEST_FILE, Ending
from service.jobs.plan import PLAN_FILE, Plan, PlanError, read_plan
from service.jobs.shards.marker import read_marker
from service.jobs.storage.output import Output, OutputError
from service.jobs.storage.store import Store

BATCH = 500  # jobs, or shards, of one exchange with Redis

log = structlog.get_logger(__name__)


async def rebuild(ledger: Ledger, store: Store) -> int:
    """Index every job that the ledger lacks; returns how many.

    A finished job comes back as its manifest says, unless it was retried since. Any other begins again, paused or
    cancelled if it was: the workers that claim its finished shards find them on disk and only hash them. A job whose
    files are damaged is left out.
    """
    plans = await asyncio.to_thread(lambda: list(stored_plans(store)))
    rebuilt = 0
    for first in range(0, len(plans), BATCH):
        batch = {plan.job: plan for plan in plans[first : first + BATCH]}
        for job in await ledger.unknown(list(batch)):
            try:
                await _index(ledger, store, batch[job])
                rebuilt += 1
            except (OSError, OutputError, ValueError, LookupError, TypeError) as error:
                log.error("a job cannot be indexed", job=job, error=f"{type(error).__name__}: {error}")
    return rebuilt


def stored_plans(store: Store) -> Iterator[Plan]:
    """Return the plans of all jobs, each from the folder that it names."""
    for prefix in store.plan_prefixes():
        plan = _read(store, prefix)
        if plan is not None:
            yield plan


def _read(store: Store, prefix: str) -> Plan | None:
    try:
        plan = read_plan(store.output(prefix).read(PLAN_FILE) or b"")
    except (OSError, OutputError, PlanError) as error:
        log.warning("a plan cannot be read", prefix=prefix, error=str(error))
        return None
    if plan.prefix != prefix:
        log.warning("a plan is in the wrong folder", prefix=prefix, expected=plan.prefix)
        return None
    return plan


async def _index(ledger: Ledger, store: Store, plan: Plan) -> None:
    output = store.output(plan.prefix)
    ending = await asyncio.to_thread(read_ending, output)
    state, retry_round = await asyncio.to_thread(read_intent, output)
    if ending is None or ending.round < retry_round:
        await ledger.restore(plan, {"state": state, "round": retry_round})
        return
    for first in range(0, plan.shards, BATCH):
        page = range(first, min(first + BATCH, plan.shards))
        await ledger.restore_shards(
            plan.job,
            {shard: ending.digests[shard] for shard in page if shard in ending.digests},
            {shard: ending.errors[shard] for shard in page if shard in ending.errors},
        )
    ended_ms = await asyncio.to_thread(output.modified_ms, MANIFEST_FILE)
    size_bytes = await asyncio.to_thread(_size_bytes, output, ending)
    await ledger.restore(plan, {**_fields(plan, ending), "ended": ended_ms, "bytes": size_bytes})


def _size_bytes(output: Output, ending: Ending) -> int:
    """Return the bytes of a job's finished shards, from the markers where the manifest does not say."""
    if ending.size_bytes is not None:
        return ending.size_bytes
    markers = (read_marker(output, shard) for shard in ending.digests)
    return sum(marker.bytes for marker in markers if marker)


def _fields(plan: Plan, ending: Ending) -> dict[str, str | int]:
    """What the ledger knew about a finished job, except its times and attempts.

    Its end is the modification time of the manifest; the manifest itself holds none, so that its bytes do not depend on
    when and by which process it is written.
    """
    images = sum(len(plan.span(shard)) for shard in ending.digests)
    known = {*ending.digests, *ending.errors}
    return {
        "state": ending.state,
        "next": next((shard for shard in range(plan.shards) if shard not in known), plan.shards),
        "error": ending.error,
        "root": ending.root_digest,
        "result": ending.result_json,
        "committed": images,
        "high": images,
        "done": len(ending.digests),
        "failed": len(ending.errors),
        "round": ending.round,
    }
