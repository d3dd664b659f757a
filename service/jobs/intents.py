"""That a job is paused, being cancelled or retried, written beside its plan: a Redis that was emptied can be told."""

from __future__ import annotations

import asyncio
import re
from typing import Final

import structlog

from service.errors import MintageError
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import JobState, JobView
from service.jobs.storage.output import Output, OutputError
from service.jobs.storage.store import Store

INTENT_FILE: Final = "intent"
_WORDS: Final[dict[JobState, str]] = {"PAUSED": "paused", "CANCELLING": "cancelled"}
_TEXT = re.compile(rb"(paused|cancelled|retried)(?: ([0-9]{1,9}))?\n")

log = structlog.get_logger(__name__)


async def remember(ledger: Ledger, store: Store, job: str) -> JobView:
    """Write down what was asked of a job, as its state tells, and return the job.

    A full disk or a store that is away is no reason to refuse: it may be why somebody pauses. Then the ledger alone
    knows.

    Raises:
        NotFound: if it does not exist.
    """
    view = await ledger.job(job)
    if not view.terminal and view.state != "DELETING":
        output = store.output(view.plan.prefix, existing=True)
        try:
            await asyncio.to_thread(_write, output, _text(view))
        except (OSError, OutputError, MintageError) as error:
            log.warning("an intent is not written down", job=job, state=view.state, error=str(error))
    return view


def read_intent(output: Output) -> tuple[JobState, int]:
    """Return the state of a job that has not ended and that the ledger does not know, and how often it was retried."""
    try:
        match = _TEXT.fullmatch(output.read(INTENT_FILE) or b"")
    except OutputError:
        match = None
    if match is None:
        return "QUEUED", 0
    state: JobState = next((state for state, word in _WORDS.items() if word == match[1].decode()), "QUEUED")
    return state, int(match[2] or 0)


def _text(view: JobView) -> bytes | None:
    """What is written down: a word, and how often the job was retried, if it was."""
    word = _WORDS.get(view.state, "retried")
    if view.round:
        return f"{word} {view.round}\n".encode()
    return f"{word}\n".encode() if word != "retried" else None


def _write(output: Output, text: bytes | None) -> None:
    if text is None:
        output.remove(INTENT_FILE)
        return
    with output.temporary(INTENT_FILE) as temporary:
        temporary.file.write(text)
        output.replace(temporary, INTENT_FILE)
