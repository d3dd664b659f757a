"""Deleting jobs whose ttl has passed, by the clock of Redis."""

from __future__ import annotations

import asyncio
import functools
import time

import structlog

from service.errors import MintageError, NotFound
from service.jobs.ledger.control import DELETE_AGAIN_AFTER_S, Control
from service.jobs.ledger.ledger import Ledger
from service.jobs.storage.store import Store

POLL_S = 1.0  # ttls are at least a second
MAX_AT_ONCE = 4  # folders removed at a time, so that a disk stays usable meanwhile

log = structlog.get_logger(__name__)


class Retention:
    """Deletes expired jobs and resumes interrupted deletions, each in its own task."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger, self._store = ledger, store
        self._control = Control(ledger)
        self._next_poll = 0.0
        self._deleting: dict[str, asyncio.Task[None]] = {}

    async def poll(self) -> None:
        """Begin to delete what is due; asks the ledger once a second at most."""
        slots = MAX_AT_ONCE - len(self._deleting)
        if time.monotonic() < self._next_poll or slots <= 0:
            return
        self._next_poll = time.monotonic() + POLL_S
        for job in (await self._ledger.run("reap", slots, round(DELETE_AGAIN_AFTER_S * 1000)))["jobs"]:
            if job not in self._deleting:
                self._deleting[job] = task = asyncio.create_task(self._delete(job))
                task.add_done_callback(functools.partial(self._deleted, job))

    async def join(self) -> None:
        """Wait for every deletion that was begun."""
        await asyncio.gather(*self._deleting.values(), return_exceptions=True)

    async def close(self) -> None:
        """Cancel every deletion; the next leader resumes them."""
        for task in self._deleting.values():
            task.cancel()
        await self.join()

    async def _delete(self, job: str) -> None:
        try:
            await self._control.delete(job, self._store)
            log.info("job deleted", job=job)
        except NotFound:
            return  # another call was faster
        except MintageError as error:
            log.warning("a job cannot be deleted now", job=job, error=error.message)
        except Exception:
            log.exception("a job cannot be deleted now", job=job)

    def _deleted(self, job: str, _: asyncio.Task[None]) -> None:
        self._deleting.pop(job, None)
