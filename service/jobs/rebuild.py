"""Jobs whose plan is on disk but which the ledger has forgotten: Redis was restarted, or emptied. None is lost."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path

import structlog

from service.jobs.finalize import Ending, read_ending
from service.jobs.ledger import Ledger
from service.jobs.output import Output, OutputError
from service.jobs.plan import FILE_NAME, Plan, PlanError, read_plan

BATCH = 500

log = structlog.get_logger(__name__)


async def rebuild(ledger: Ledger, root: Path) -> int:
    """Index every job that the ledger lacks; returns how many.

    A job that has ended comes back as its manifest says. Any other begins anew: its finished shards are found on disk
    by the workers that claim them, and only hashed.
    """
    plans = await asyncio.to_thread(lambda: list(plans_on_disk(root)))
    rebuilt = 0
    for first in range(0, len(plans), BATCH):
        batch = {plan.job: plan for plan in plans[first : first + BATCH]}
        for job in await ledger.unknown(list(batch)):
            await _index(ledger, root, batch[job])
            rebuilt += 1
    return rebuilt


def plans_on_disk(root: Path) -> Iterator[Plan]:
    """Return the plans below the output folder, each from the folder that it names; symbolic links are not followed."""
    for folder, folders, files in os.walk(root):
        prefix = Path(folder).relative_to(root).as_posix()
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if FILE_NAME in files:
            folders.clear()
            plan = _read(root, prefix)
            if plan is not None:
                yield plan


def _read(root: Path, prefix: str) -> Plan | None:
    try:
        plan = read_plan(Output(root, prefix).read(FILE_NAME) or b"")
    except (OSError, OutputError, PlanError) as error:
        log.warning("a plan cannot be read", prefix=prefix, error=str(error))
        return None
    if plan.prefix != prefix:
        log.warning("a plan lies in the wrong folder", prefix=prefix, expected=plan.prefix)
        return None
    return plan


async def _index(ledger: Ledger, root: Path, plan: Plan) -> None:
    output = Output(root, plan.prefix)
    ending = await asyncio.to_thread(read_ending, output)
    if ending is None:
        await ledger.create(plan)
        return
    for first in range(0, plan.shards, BATCH):
        page = range(first, min(first + BATCH, plan.shards))
        await ledger.restore_shards(
            plan.job,
            {shard: ending.digests[shard] for shard in page if shard in ending.digests},
            {shard: ending.errors[shard] for shard in page if shard in ending.errors},
        )
    await ledger.restore(plan, _fields(plan, ending))


def _fields(plan: Plan, ending: Ending) -> dict[str, str | int]:
    """What the ledger knew of a job that has ended, except its times and attempts."""
    images = sum(len(plan.span(shard)) for shard in ending.digests)
    return {
        "state": ending.state,
        "error": ending.error,
        "root": ending.root_digest,
        "result": ending.result_json,
        "committed": images,
        "high": images,
        "done": len(ending.digests),
        "failed": len(ending.errors),
        "round": ending.round,
    }
