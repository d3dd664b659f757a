"""Finishing the jobs that can be: each is signed off, or first mended where its files were damaged meanwhile.

Exactly the shards that are damaged or missing are made again, a few times at most. A job whose folder is gone ends as
OUTPUT_LOST.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

import structlog

from service.errors import MintageError
from service.jobs.dispatch.finalize import ShardsDamaged, finalize
from service.jobs.dispatch.refusals import unwritten
from service.jobs.ledger.control import Control
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import JobView, ShardView
from service.jobs.manifest import Ending
from service.jobs.plan import PLAN_FILE
from service.jobs.steps import Steps
from service.jobs.storage.output import OutputError, lost
from service.jobs.storage.store import Store
from service.settings import Settings

MOMENT_S = 1.0  # after which it is told how far the end of a job is, and how often
WAIT_S = 1.0  # before a job that waits for Redis, the store or space is tried again
FINISH_AGAIN_S = 5.0  # before a job whose end failed is tried again
MAX_MENDS = 3  # how often damaged shards of a job are made again in one round before that counts as their failure
SHARD_PAGE = 1000  # records of shards that one script reads

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Records:
    """What the ledger has of a job's shards: digests of those that were made, errors of those that failed."""

    committed: dict[int, str] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)

    def add(self, shard: ShardView) -> None:
        if shard.state == "FAILED":
            self.errors[shard.index] = shard.error
        elif shard.state == "DONE" or shard.recorded:
            self.committed[shard.index] = shard.digest or shard.recorded


class Finisher:
    """Finishes jobs, each in its own task, so that hints continue."""

    def __init__(self, settings: Settings, ledger: Ledger, store: Store) -> None:
        self._settings, self._ledger, self._store = settings, ledger, store
        self._control = Control(ledger)
        self._finishing: dict[str, asyncio.Task[None]] = {}

    def begin(self, jobs: Iterable[str]) -> None:
        """Begin to finish jobs that can be finished, unless that was begun."""
        for job in jobs:
            if job not in self._finishing:
                self._finishing[job] = task = asyncio.create_task(self._finish_job(job))
                task.add_done_callback(functools.partial(self._finished, job))

    async def close(self) -> None:
        """Cancel what was begun; the next leader begins it again."""
        for task in self._finishing.values():
            task.cancel()
        await asyncio.gather(*self._finishing.values(), return_exceptions=True)

    def _finished(self, job: str, _: asyncio.Task[None]) -> None:
        self._finishing.pop(job, None)

    async def _finish_job(self, job: str) -> None:
        try:
            view = await self._ledger.job(job)
            if view.terminal:  # finished since it was named
                return
            try:
                async with self._told(view) as steps:
                    ending = await self._end(view, steps)
            except (MintageError, OSError) as error:
                ending = await unwritten(self._ledger, view, error, wait_s=self._settings.storage_wait_s)
                if ending is None:
                    await asyncio.sleep(WAIT_S)
            if ending is not None:
                await self._ledger.finish(
                    job,
                    view.state,
                    ending.state,
                    error=ending.error,
                    root_digest=ending.root_digest,
                    result=ending.result_json,
                    retry_round=view.round,
                )
                log.info("job", job=job, state=ending.state, error=ending.error)
        except MintageError as error:
            log.warning("a job waits for its end", job=job, error=error.message)
            await asyncio.sleep(WAIT_S)
        except Exception:
            log.exception("a job cannot be finished now", job=job)
            await asyncio.sleep(FINISH_AGAIN_S)

    @contextlib.asynccontextmanager
    async def _told(self, view: JobView) -> AsyncIterator[Steps]:
        """Have the ledger tell what is done meanwhile, once it takes longer than a moment."""
        steps = Steps()
        telling = asyncio.create_task(self._tell(view, steps))
        try:
            yield steps
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _tell(self, view: JobView, steps: Steps) -> None:
        told = None
        while True:
            await asyncio.sleep(MOMENT_S)
            step = steps.now
            if step is not None and step != told:
                with contextlib.suppress(MintageError):  # it is told again a moment later
                    await self._ledger.note_step(view, step)
                    told = step

    async def _end(self, view: JobView, steps: Steps) -> Ending | None:
        """Sign a job off; returns how it ended, or None if it runs again to be mended."""
        if await asyncio.to_thread(self._is_lost, view):
            return Ending("FAILED", lost(self._store.uri(view.plan.prefix)))
        records = await self._records(view)
        given_up = len(records.committed) + len(records.errors) < view.plan.shards  # cancelled, or too many have failed
        try:
            return await asyncio.to_thread(self._sign, view, records, steps, mendable=not given_up)
        except ShardsDamaged as damaged:
            log.warning("shards are damaged", job=view.plan.job, mends=view.mends, first=str(damaged))
            if view.mends < MAX_MENDS:
                await self._control.remake(view, _shards(damaged))
                await self._control.mend(view)
                return None
            await self._control.remake(view, _shards(damaged), error=_error(damaged))
            return await asyncio.to_thread(self._sign, view, await self._records(view), steps, mendable=False)

    def _sign(self, view: JobView, records: _Records, steps: Steps, *, mendable: bool) -> Ending:
        return finalize(
            self._store,
            view.plan,
            cancelled=view.state == "CANCELLING",
            errors=records.errors,
            committed=records.committed if mendable else None,
            retry_round=view.round,
            inputs=self._settings.inputs,
            steps=steps,
        )

    def _is_lost(self, view: JobView) -> bool:
        """Whether the job's plan is gone, without which nothing is a job; a job is deleted after its end only."""
        try:
            return self._store.output(view.plan.prefix).size(PLAN_FILE) is None
        except OutputError:
            return False

    async def _records(self, view: JobView) -> _Records:
        records = _Records()
        for first in range(0, view.plan.shards, SHARD_PAGE):
            for shard in await self._ledger.shards(view.plan.job, first=first, limit=SHARD_PAGE):
                records.add(shard)
        return records


def _shards(damaged: ShardsDamaged) -> list[int]:
    return sorted({finding.shard for finding in damaged.findings if finding.shard is not None})


def _error(damaged: ShardsDamaged) -> str:
    return f"{OutputError.reason}: {damaged}; it was made again {MAX_MENDS} times"
