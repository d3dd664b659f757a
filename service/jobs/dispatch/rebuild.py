"""Indexing what is on disk but not in the ledger, jobs and finished shards: Redis was restarted, or emptied.

No job is lost, and none tells less than is on disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import structlog

from service.errors import NotFound
from service.jobs.dispatch.finalize import read_ending
from service.jobs.dispatch.unreadable import Unreadable, stored_plan
from service.jobs.intents import INTENT_FILE, read_intent
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import JobState, JobView
from service.jobs.manifest import MANIFEST_FILE, Ending
from service.jobs.plan import Plan
from service.jobs.shards.formats.choice import layout_of
from service.jobs.shards.marker import Marker, marker_name, read_marker
from service.jobs.storage.output import HIDDEN, Output, OutputError
from service.jobs.storage.store import Store

READS_AT_ONCE = 16  # markers
BATCH = 500  # jobs, or shards, of one exchange with Redis
_UNFINISHED: tuple[JobState, ...] = ("QUEUED", "RUNNING", "PAUSED")

log = structlog.get_logger(__name__)


async def rebuild(ledger: Ledger, store: Store) -> int:
    """Index every job that the ledger lacks, and the finished shards that it lacks; returns how many jobs.

    A finished job comes back as its manifest says, unless it was retried since. Any other comes back as its markers
    say, paused or cancelled if it was, and goes on with the shards that are not whole. A job whose plan cannot be read
    is listed as unreadable; one whose other files are damaged is left out.
    """
    found = await asyncio.to_thread(lambda: list(_plans_and_reasons(store)))
    plans = [plan for _, plan in found if isinstance(plan, Plan)]
    rebuilt = await _index_unknown(ledger, store, plans)
    for first in range(0, len(plans), BATCH):
        await _catch_up(ledger, store, plans[first : first + BATCH])
    unreadable = Unreadable(ledger, store)
    for prefix, reason in found:
        if isinstance(reason, str):
            await unreadable.note(prefix, reason)
    return rebuilt


async def index_mended(ledger: Ledger, store: Store, unreadable: Unreadable) -> int:
    """Index the jobs whose plan can be read by now, in the place of what they were listed as; returns how many."""
    rebuilt = 0
    for prefix, plan in await unreadable.mended():
        rebuilt += await _index_all(ledger, store, [plan]) if plan else 0
        await ledger.forget_unreadable(prefix)
    return rebuilt


async def _index_all(ledger: Ledger, store: Store, plans: Sequence[Plan]) -> int:
    rebuilt = 0
    for plan in plans:
        try:
            await _index(ledger, store, plan)
            rebuilt += 1
        except (OSError, OutputError, ValueError, LookupError, TypeError) as error:
            log.error("a job cannot be indexed", job=plan.job, error=f"{type(error).__name__}: {error}")
    return rebuilt


async def _index_unknown(ledger: Ledger, store: Store, plans: Sequence[Plan]) -> int:
    """Index those of the jobs that the ledger lacks; returns how many."""
    rebuilt = 0
    for first in range(0, len(plans), BATCH):
        batch = {plan.job: plan for plan in plans[first : first + BATCH]}
        rebuilt += await _index_all(ledger, store, [batch[job] for job in await ledger.unknown(list(batch))])
    return rebuilt


def stored_plans(store: Store) -> Iterator[Plan]:
    """Return the plans of all jobs that can be read, each from the folder that it names."""
    for _, found in _plans_and_reasons(store):
        if isinstance(found, Plan):
            yield found


def _plans_and_reasons(store: Store) -> Iterator[tuple[str, Plan | str]]:
    """Return every folder with a plan, and the plan, or why it cannot be read."""
    for prefix in store.plan_prefixes():
        found = stored_plan(store, prefix)
        if found is not None:
            yield prefix, found


async def _catch_up(ledger: Ledger, store: Store, plans: Sequence[Plan]) -> None:
    """Tell of unfinished jobs what was lost with Redis's last writes: finished shards, pauses, cancels and ends."""
    states = await ledger.states([plan.job for plan in plans])
    unfinished = [plan for plan, state in zip(plans, states, strict=True) if state in _UNFINISHED]
    begun = await asyncio.to_thread(lambda: [plan.job for plan in unfinished if _has_begun(store.output(plan.prefix))])
    for view in await ledger.views(begun):
        if isinstance(view, JobView) and view.state in _UNFINISHED:
            try:
                await _catch_up_job(ledger, store.output(view.plan.prefix), view)
            except (OSError, OutputError, NotFound, ValueError) as error:
                text = f"{type(error).__name__}: {error}"
                log.error("a job cannot be brought up to date", job=view.plan.job, error=text)


def _has_begun(output: Output) -> bool:
    """Whether there is more of a job than its plan: very many may wait."""
    try:
        return not {HIDDEN, MANIFEST_FILE, INTENT_FILE}.isdisjoint(output.names())
    except OutputError:
        return False


async def _catch_up_job(ledger: Ledger, output: Output, view: JobView) -> None:
    plan, marked = view.plan, len(await asyncio.to_thread(_marked, output))
    for first in range(0, plan.shards if marked > view.shards_done else 0, BATCH):
        shards = await ledger.shards(plan.job, first=first, limit=BATCH)
        lacking = [shard.index for shard in shards if shard.state in ("READY", "LEASED") and not shard.recorded]
        markers = (await asyncio.to_thread(_whole_shards, output, plan, lacking)).values()
        facts = [fact for m in markers for fact in (m.shard, m.attempt, m.digest, m.count, m.bytes)]
        if facts:
            await ledger.run("adopt", plan.job, *facts)
            log.info("finished shards were counted again", job=plan.job, shards=len(markers))
    ending = await asyncio.to_thread(read_ending, output)
    state, retry_round = await asyncio.to_thread(read_intent, output)
    if ending is not None and ending.round >= max(view.round, retry_round):
        await ledger.run("ended", plan.job, ending.round)
    elif state in ("PAUSED", "CANCELLING") and view.state != state and retry_round == view.round:
        await ledger.run("pause" if state == "PAUSED" else "cancel", plan.job)


async def _index(ledger: Ledger, store: Store, plan: Plan) -> None:
    output = store.output(plan.prefix)
    ending = await asyncio.to_thread(read_ending, output)
    state, retry_round = await asyncio.to_thread(read_intent, output)
    if ending is None or ending.round < retry_round:
        markers = await asyncio.to_thread(_whole_shards, output, plan, range(plan.shards))
        await _restore_shards(ledger, plan, {shard: marker.digest for shard, marker in markers.items()}, {})
        await ledger.restore(plan, {**_progress(plan, markers, state), "round": retry_round})
        return
    await _restore_shards(ledger, plan, ending.digests, ending.errors)
    ended_ms = await asyncio.to_thread(output.modified_ms, MANIFEST_FILE)
    size_bytes = await asyncio.to_thread(_size_bytes, output, ending)
    await ledger.restore(plan, {**_fields(plan, ending), "ended": ended_ms, "bytes": size_bytes})


async def _restore_shards(ledger: Ledger, plan: Plan, digests: Mapping[int, str], errors: Mapping[int, str]) -> None:
    for first in range(0, plan.shards, BATCH):
        page = range(first, min(first + BATCH, plan.shards))
        await ledger.restore_shards(
            plan.job,
            {shard: digests[shard] for shard in page if shard in digests},
            {shard: errors[shard] for shard in page if shard in errors},
        )


def _whole_shards(output: Output, plan: Plan, shards: Iterable[int]) -> dict[int, Marker]:
    """Return the markers of those shards that are finished and have the size that their marker says."""

    def whole(shard: int) -> Marker | None:
        try:
            marker = read_marker(output, shard)
            size = layout_of(plan).size(output, shard) if marker else None
        except (OSError, OutputError):
            return None
        mine = marker is not None and (marker.shard, marker.plan_digest) == (shard, plan.digest)
        return marker if mine and marker is not None and marker.bytes == size else None

    there = _marked(output)
    marked = [shard for shard in shards if marker_name(shard).rpartition("/")[2] in there]
    with ThreadPoolExecutor(READS_AT_ONCE) as pool:
        return {marker.shard: marker for marker in pool.map(whole, marked) if marker is not None}


def _marked(output: Output) -> set[str]:
    """Return the names of the markers of a job."""
    return {name for name in output.names(HIDDEN) if name.endswith(".json")}


def _progress(plan: Plan, markers: Mapping[int, Marker], state: JobState) -> dict[str, str | int]:
    """What the ledger knew about an unfinished job: no less than its markers say."""
    images = sum(marker.count for marker in markers.values())
    if len(markers) == plan.shards and state != "CANCELLING":
        state = "FINALIZING"
    elif markers and state == "QUEUED":
        state = "RUNNING"
    return {
        "state": state,
        "next": next((shard for shard in range(plan.shards) if shard not in markers), plan.shards),
        "committed": images,
        "high": images,
        "done": len(markers),
        "bytes": sum(marker.bytes for marker in markers.values()),
        "attempts": sum(marker.attempt for marker in markers.values()),
    }


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
