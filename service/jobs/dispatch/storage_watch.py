"""Trying every now and then whether jobs can be written, and noting it in the ledger, where every API looks."""

from __future__ import annotations

import asyncio
import contextlib
import time

import structlog

from service.errors import MintageError
from service.jobs.ledger.ledger import Ledger
from service.jobs.storage.store import Store
from service.jobs.storage.trial import try_out

TRIAL_S, REFUSED_S = 30.0, 3.0  # between two trials: while all is well, and while storage refuses
NOTE_S = 120.0  # how long a refusal is believed after its dispatcher has gone

log = structlog.get_logger(__name__)


class StorageWatch:
    """Tries the store in a task of its own, so that hints continue while it does not answer."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger, self._store = ledger, store
        self._next_trial = 0.0
        self._trial: asyncio.Task[None] | None = None
        self._refusal = ""

    def poll(self) -> None:
        """Begin a trial if one is due."""
        if self._trial is None and time.monotonic() >= self._next_trial:
            self._trial = asyncio.create_task(self._try())

    async def close(self) -> None:
        """Cancel what was begun."""
        if self._trial is not None:
            self._trial.cancel()
            await asyncio.gather(self._trial, return_exceptions=True)

    async def _try(self) -> None:
        try:
            refusal = await asyncio.to_thread(self._refused)
            if refusal != self._refusal:
                if refusal:
                    log.error("jobs cannot be written", error=refusal)
                else:
                    log.info("jobs can be written again")
            self._refusal = refusal
            with contextlib.suppress(MintageError):
                await self._ledger.note_storage(refusal, keep_s=NOTE_S)
        finally:
            self._next_trial = time.monotonic() + (REFUSED_S if self._refusal else TRIAL_S)
            self._trial = None

    def _refused(self) -> str:
        """Return why nothing can be written, or nothing."""
        try:
            try_out(self._store)
        except MintageError as error:
            return f"{error.reason}: {error.message}"
        return ""
