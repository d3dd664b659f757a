"""The intent of a job (paused, cancelled, retried), written beside its plan so that it survives the loss of Redis.

Pausing and cancelling always act, even on a full disk, since that is how a user stops the job that fills it; an intent
that could not be written is written by the dispatcher once there is space. Resuming and retrying need space anyway, and
are refused before anything changes.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

import structlog

from service.errors import MintageError, NotFound
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import JobState, JobView
from service.jobs.storage.failures import translated
from service.jobs.storage.output import Output, OutputError
from service.jobs.storage.store import Store

INTENT_FILE: Final = "intent"
_WORDS: Final[dict[JobState, str]] = {"PAUSED": "paused", "CANCELLING": "cancelled"}
_TEXT = re.compile(rb"(paused|cancelled|retried)(?: ([0-9]{1,9}))?\n")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class IntentRecord:
    """A job after a request, and whether its intent would survive the loss of Redis now."""

    view: JobView
    durable: bool


class Intents:
    """The intents of the jobs of one ledger, beside their plans in one store."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger, self._store = ledger, store

    async def announce(self, job: str, states: Collection[JobState], *, retried: bool = False) -> None:
        """Write an intent before the ledger acts on it; a job that is in another state is left alone.

        Args:
            job: the job's id.
            states: those that the job can leave.
            retried: whether its failed shards get fresh attempts.

        Raises:
            NotFound: if the job does not exist.
            ResourceExhausted: NO_SPACE, if the disk is full.
            FailedPrecondition: if the folder cannot be written.
        """
        view = await self._ledger.job(job)
        if view.state in states:
            await asyncio.to_thread(self._write, view, _text("QUEUED", view.round + retried) or b"resumed\n")

    async def record(self, job: str) -> IntentRecord:
        """Write the intent that follows from the job's state; what cannot be written now is left to the dispatcher.

        Raises:
            NotFound: if the job does not exist.
        """
        view = await self._ledger.job(job)
        if view.state == "DELETING":
            return IntentRecord(view, durable=True)
        try:
            await asyncio.to_thread(self._write, view, None if view.terminal else _text(view.state, view.round))
        except MintageError as error:
            log.warning("an intent is not recorded yet", job=job, state=view.state, error=error.message)
            await self._ledger.run("unrecorded", "add", job)
            return IntentRecord(view, durable=False)
        return IntentRecord(view, durable=True)

    async def record_missed(self) -> None:
        """Write the intents that could not be written before."""
        for job in (await self._ledger.run("unrecorded", "list"))["jobs"]:
            try:
                durable = (await self.record(job)).durable
            except NotFound:
                durable = True  # it was deleted meanwhile
            if durable:
                await self._ledger.run("unrecorded", "remove", job)

    def _write(self, view: JobView, text: bytes | None) -> None:
        with translated():
            output = self._store.output(view.plan.prefix, existing=True)
            if text is None:
                output.remove(INTENT_FILE)
                return
            with output.temporary(INTENT_FILE) as temporary:
                temporary.file.write(text)
                output.replace(temporary, INTENT_FILE)


def read_intent(output: Output) -> tuple[JobState, int]:
    """Return the state of an unfinished job that the ledger does not know, and how often it was retried."""
    try:
        match = _TEXT.fullmatch(output.read(INTENT_FILE) or b"")
    except OutputError:
        match = None
    if match is None:
        return "QUEUED", 0
    state: JobState = next((state for state, word in _WORDS.items() if word == match[1].decode()), "QUEUED")
    return state, int(match[2] or 0)


def _text(state: JobState, retry_round: int) -> bytes | None:
    """The content of the file: a word, and how often the job was retried, if it was."""
    word = _WORDS.get(state, "retried")
    if retry_round:
        return f"{word} {retry_round}\n".encode()
    return f"{word}\n".encode() if word != "retried" else None
