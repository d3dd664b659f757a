"""Repairing a finished job: it is verified, exactly what is wrong is made again, and that is checked."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Collection
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

from mintage.v1 import repair_pb2

from service.api.servicers.jobs.requests import checked_name
from service.api.servicers.jobs.verification import HASHING_AT_ONCE, PROGRESS_S, finding_message, progress_message
from service.errors import FailedPrecondition
from service.jobs.intents import Intents
from service.jobs.ledger.control import Control
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import JobState, JobView
from service.jobs.shards.formats.choice import check_encoder
from service.jobs.storage.store import Store
from service.jobs.submission.restoration import restore_plan
from service.jobs.verification.findings import Finding
from service.jobs.verification.recompute import planned_model
from service.jobs.verification.verification import Verification
from service.models.registry import Registry

REPAIRABLE: tuple[JobState, ...] = ("SUCCEEDED", "PARTIALLY_SUCCEEDED", "FAILED")
RUNNING_AGAIN: tuple[JobState, ...] = ("QUEUED", "RUNNING", "FINALIZING")
Response = repair_pb2.RepairJobResponse


@dataclass(slots=True)
class _Damage:
    """What a verification found."""

    findings: list[Finding] = field(default_factory=list)

    @property
    def made(self) -> set[int]:
        """Shards whose files must be made again."""
        return {each.shard for each in self.findings if each.shard is not None and each.kind in _FILES}

    @property
    def marked(self) -> set[int]:
        """Shards of which only the marker is wrong."""
        marked = {each.shard for each in self.findings if each.shard is not None and each.kind == "WRONG_MARKER"}
        return marked - self.made

    @property
    def files(self) -> list[str]:
        """Files of the whole job."""
        whole = (each for each in self.findings if each.shard is None or each.kind == "WRONG_MANIFEST")
        return sorted({each.name for each in whole if each.name})

    @property
    def mendable(self) -> bool:
        """Whether anything of it can be made again."""
        return bool(self.made or self.marked or self.files)


_FILES = ("MISSING", "WRONG_DIGEST")
_CANCELLED = (
    "a cancelled job is kept as it is; verify it to learn which of its shards are sound, and create a job of the same "
    "model and seed to make the same images"
)


class JobRepair:
    """Repairs jobs.

    Args:
        ledger: Knows what was committed.
        store: Where jobs write.
        registry: Knows which models are loaded.
        inputs: The folder below which folders may be scored.
    """

    def __init__(self, ledger: Ledger, store: Store, registry: Registry, inputs: Path) -> None:
        self._ledger, self._store, self._registry, self._inputs = ledger, store, registry, inputs
        self._control, self._intents = Control(ledger), Intents(ledger, store)
        self._slots = asyncio.Semaphore(HASHING_AT_ONCE)

    async def repair(self, request: repair_pb2.RepairJobRequest) -> AsyncIterator[Response]:
        """Repair a job, or follow it if it runs again already; yields findings and progress, at the end the outcome."""
        job = checked_name(request.name)
        view = await self._ledger.job(job)
        found = _Damage()
        touched: Collection[int] | None = None
        if view.round and view.state in RUNNING_AGAIN:
            async for part in self._follow(job):
                yield part
        else:
            _check_state(view)
            async for part in self._verify(view, found, None):
                yield part
            for finding in found.findings:
                yield Response(finding=finding_message(finding))
            touched = found.made | found.marked
            if found.mendable or view.state != "SUCCEEDED":
                await self._begin(view, found)
                async for part in self._follow(job):
                    yield part
        view, left = await self._ledger.job(job), _Damage()
        async for part in self._verify(view, left, touched):
            yield part
        if touched is None or not found.mendable:
            left.findings += [each for each in found.findings if each.kind == "STRANGE_FILE"]
        for finding in left.findings:
            yield Response(remaining=finding_message(finding))
        yield Response(outcome=_outcome(view, found, left))

    async def _verify(self, view: JobView, damage: _Damage, shards: Collection[int] | None) -> AsyncIterator[Response]:
        """Note what is wrong now with these shards, or all, and with the files of the whole job."""
        verification = Verification(
            self._ledger, self._store, view, recomputation=None, slots=self._slots, shards=shards
        )
        shown_at = 0.0
        async with aclosing(verification.run()) as steps:  # type: ignore[type-var]
            async for findings in steps:
                damage.findings += findings
                if shards is None and time.monotonic() >= shown_at + PROGRESS_S:
                    shown_at = time.monotonic()
                    yield Response(checked=progress_message(verification.progress))

    async def _begin(self, view: JobView, damage: _Damage) -> None:
        """Let the job run again for what is damaged; until all is known to be possible nothing changes."""
        plan = view.plan
        if damage.made or view.shards_done < plan.shards:
            check_encoder(plan)
            planned_model(self._registry, plan)
        await asyncio.to_thread(restore_plan, self._store, self._inputs, plan)
        await self._intents.announce(plan.job, REPAIRABLE, retried=True)
        try:
            await self._control.remake(view, sorted(damage.made | damage.marked))
            await self._control.repair(plan.job)
        finally:
            await self._intents.record(plan.job)

    async def _follow(self, job: str) -> AsyncIterator[Response]:
        while not (view := await self._ledger.job(job)).terminal:
            progress = repair_pb2.RepairProgress(shards_done=view.shards_done, shards_total=view.plan.shards)
            yield Response(progress=progress)
            await asyncio.sleep(PROGRESS_S)


def _check_state(view: JobView) -> None:
    if view.state in REPAIRABLE:
        return
    why = _CANCELLED if view.state == "CANCELLED" else "before it ends it mends itself"
    text = f"jobs/{view.plan.job} is {view.state}; only a job that succeeded or failed can be repaired: {why}"
    raise FailedPrecondition(text, reason="WRONG_JOB_STATE", metadata={"state": view.state})


def _outcome(view: JobView, found: _Damage, left: _Damage) -> repair_pb2.RepairOutcome:
    """Say what was done: what was wrong and is so no more."""
    return repair_pb2.RepairOutcome(
        sound=not left.findings and view.state == "SUCCEEDED",
        findings=len(found.findings),
        shards_made=len(found.made - left.made),
        markers_written=len(found.marked - left.marked - left.made),
        files_written=[name for name in found.files if name not in left.files],
        root_digest=view.root_digest,
        error=view.error,
    )
