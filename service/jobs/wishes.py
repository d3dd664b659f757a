"""That a job is paused or being cancelled, written down beside its plan: a Redis that was emptied can be told."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog

from service.errors import MintageError
from service.jobs.ledger import Ledger
from service.jobs.output import Output, OutputError
from service.jobs.store import Store
from service.jobs.views import JobState, JobView

FILE_NAME: Final = "wish"
_TEXTS: Final[dict[JobState, bytes]] = {"PAUSED": b"paused\n", "CANCELLING": b"cancelled\n"}

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
            await asyncio.to_thread(_write, output, _TEXTS.get(view.state))
        except (OSError, OutputError, MintageError) as error:
            log.warning("a wish is not written down", job=job, state=view.state, error=str(error))
    return view


def wished_state(output: Output) -> JobState:
    """Return the state of a job that has not ended and that the ledger does not know."""
    try:
        text = output.read(FILE_NAME)
    except OutputError:
        text = None
    return next((state for state, wish in _TEXTS.items() if wish == text), "QUEUED")


def _write(output: Output, text: bytes | None) -> None:
    if text is None:
        output.remove(FILE_NAME)
        return
    with output.temporary(FILE_NAME) as temporary:
        temporary.file.write(text)
        output.replace(temporary, FILE_NAME)
