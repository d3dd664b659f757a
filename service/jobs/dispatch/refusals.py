"""A job whose end storage refuses: it waits and says why, for a bounded time, or until it is cancelled.

It then ends in the ledger alone, without a manifest. If Redis is emptied later, it is indexed as unfinished.
"""

from __future__ import annotations

import structlog

from service.errors import MintageError, Unavailable
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import JobView
from service.jobs.manifest import Ending
from service.jobs.workers.attempt import failure_text

_OF_THE_LEDGER = ("JOB_STORE_UNAVAILABLE", "JOB_STORE_FULL")

log = structlog.get_logger(__name__)


async def unwritten(ledger: Ledger, view: JobView, error: MintageError | OSError, *, wait_s: float) -> Ending | None:
    """Note why the end of a job cannot be written; returns how it ends nevertheless, or None if it waits.

    Args:
        ledger: the ledger.
        view: the job.
        error: what storage said.
        wait_s: seconds after which a refusal is final. A store that does not answer is waited for.

    Raises:
        MintageError: `error`, if it is not about storage.
    """
    if isinstance(error, MintageError) and error.reason in _OF_THE_LEDGER:
        raise error
    text = failure_text(error)
    stalled_s = await ledger.stalled(view.plan.job, text)
    log.warning("a job waits for its end", job=view.plan.job, error=text, stalled_s=round(stalled_s))
    if view.state == "CANCELLING":
        return Ending("CANCELLED", f"{text}; so no manifest was written")
    if stalled_s > wait_s and not isinstance(error, Unavailable):
        return Ending("FAILED", f"{text}; no manifest could be written for {wait_s:g} seconds")
    return None
