"""Accepting a job: it is reserved, its plan is written, the ledger indexes it; only then does the call return.

A crash in between leaves nothing in the way: the same request continues where the first one stopped, and the dispatcher
finds a plan that the ledger does not know.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from service.jobs.faults import crash_point
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import JobView, job_view
from service.jobs.plan import PLAN_FILE, Plan, PlanError, new_job_id, read_plan
from service.jobs.sources.listing import is_listing
from service.jobs.storage.failures import translated
from service.jobs.storage.output import TEMPORARY, Output
from service.jobs.storage.store import Store
from service.jobs.submission.reservations import Reservations, prefix_taken


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan, and the files that must be written beside it first, such as the list of what is scored."""

    plan: Plan
    beside: Mapping[str, bytes] = field(default_factory=dict)


MakeDraft = Callable[[str], Awaitable[Draft]]


async def submit(
    ledger: Ledger,
    reservations: Reservations,
    store: Store,
    make_draft: MakeDraft,
    *,
    request_id: str,
    digest: str,
    confirm: Callable[[Plan], None] = lambda _: None,
) -> JobView:
    """Make a job durable and return it; the same request id and parameters give the same job.

    Args:
        ledger: the ledger.
        reservations: request ids and quotas.
        store: where jobs write.
        make_draft: makes the plan of a job id; called only if the request is new.
        request_id: the caller's, or ''.
        digest: of the request's parameters.
        confirm: called when the plan pins its model; raises if that is no longer the model to use.

    Raises:
        AlreadyExists: if the request id was used with other parameters, or the prefix belongs to another job.
        FailedPrecondition: if the output folder cannot be written.
        ResourceExhausted: if its disk is full.
        QuotaExceeded: if a quota of the client is used up.
    """
    job = await reservations.requested(request_id, digest) if request_id else ""
    while not job or await ledger.unknown([job]):
        draft = await make_draft(job or new_job_id())
        job = await reservations.reserve(draft.plan)
        if job == draft.plan.job:
            await _write(ledger, reservations, store, draft, confirm)
    return await ledger.job(job)


async def _write(
    ledger: Ledger, reservations: Reservations, store: Store, draft: Draft, confirm: Callable[[Plan], None]
) -> None:
    crash_point("after_reserve")
    try:
        confirm(draft.plan)
        plan = await asyncio.to_thread(write_plan, store, draft.plan, draft.beside)
    except Exception:
        await reservations.release(draft.plan)
        raise
    crash_point("after_plan")
    await ledger.create(plan)
    crash_point("after_create")


async def rehearse(
    ledger: Ledger, reservations: Reservations, store: Store, make_draft: MakeDraft, *, request_id: str, digest: str
) -> JobView:
    """As `submit`, but write nothing: return the job as it would be, at revision 0, or the one that exists.

    Raises:
        AlreadyExists, FailedPrecondition, QuotaExceeded: as `submit`.
    """
    known = await reservations.requested(request_id, digest) if request_id else ""
    if known and not await ledger.unknown([known]):
        return await ledger.job(known)
    plan = (await make_draft(new_job_id())).plan
    await reservations.check(plan)
    await asyncio.to_thread(check_folder, store, plan)
    return job_view({"plan": plan.to_json().decode(), "state": "QUEUED"}, 0)


def write_plan(store: Store, plan: Plan, beside: Mapping[str, bytes] | None = None) -> Plan:
    """Write the plan into its folder, durably; returns the one that an earlier call of this request wrote, if any.

    The files `beside` it are written first; their names say what is in them, so those of an interrupted call may stay.

    Raises:
        AlreadyExists: if the folder, or one above it, belongs to another job or holds other files.
        FailedPrecondition: if the folder cannot be written.
        ResourceExhausted: if its disk is full.
    """
    output = store.output(plan.prefix)
    with translated():
        _check_free(store, plan, output)
        for name, data in (beside or {}).items():
            output.put(name, data)
        if output.put(PLAN_FILE, plan.to_json()):
            return plan
        return _same_plan(plan, output.read(PLAN_FILE) or b"")


def check_folder(store: Store, plan: Plan) -> None:
    """Refuse a folder that `write_plan` would refuse, without writing; whether the disk is full is not known.

    Raises:
        AlreadyExists, FailedPrecondition: as `write_plan`.
    """
    output = store.output(plan.prefix)
    with translated():
        _check_free(store, plan, output)
        found = output.read(PLAN_FILE)
        if found is not None:
            _same_plan(plan, found)
        store.check_writable(plan.prefix)


def _check_free(store: Store, plan: Plan, output: Output) -> None:
    """Refuse a folder inside another job's, or one that holds files without being a job's."""
    _check_above(store, plan)
    if output.read(PLAN_FILE) is None:
        others = {name for name in output.names() if not is_listing(name)}
        if others - {TEMPORARY, PLAN_FILE}:
            raise prefix_taken(plan.prefix, "is not empty")


def _check_above(store: Store, plan: Plan) -> None:
    """Refuse a folder inside another job's."""
    segments = plan.prefix.split("/")
    for depth in range(1, len(segments)):
        above = "/".join(segments[:depth])
        if store.output(above).size(PLAN_FILE) is not None:
            raise prefix_taken(plan.prefix, f"is inside {above}, which belongs to another job")


def _same_plan(plan: Plan, found: bytes) -> Plan:
    try:
        earlier = read_plan(found)
    except PlanError:
        raise prefix_taken(plan.prefix, "holds a plan that this version cannot read") from None
    if (earlier.job, earlier.request_digest) != (plan.job, plan.request_digest):
        raise prefix_taken(plan.prefix, f"belongs to jobs/{earlier.job}")
    return earlier
