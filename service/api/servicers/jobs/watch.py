"""Watching a job, and the cursor with which a broken watch is resumed.

After Redis was emptied, or restarted without its last writes, a job is indexed again from its markers, so images of
unfinished shards count no more. A watcher never sees that: it is shown the highest numbers it saw so far, on this
stream or on the one whose resume token it brings. One that has seen nothing is shown nothing until the index tells what
is on disk; where that takes long, it is told so.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import dataclasses
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, ClassVar

from mintage.v1 import jobs_pb2
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from service.api.servicers.jobs.messages import job_message
from service.errors import NotFound
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import JobView
from service.jobs.plan import JobId
from service.jobs.storage.store import Store
from service.validation import Violations

Count = Annotated[int, Field(ge=0, lt=2**63)]
INDEX_S = 10.0  # that a watcher waits for the index
POLL_S = 0.15  # between two looks at a job's revision, one small read of Redis per watcher; a person sees no delay


class JobWatch:
    """Streams jobs."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger = ledger
        self._store = store

    async def watch(self, request: jobs_pb2.WatchJobRequest) -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        """Yield a job now and after every change, until it ends."""
        violations = Violations()
        job = violations.job_name("name", request.name)
        cursor = read_cursor(job, request.resume_token, violations)
        violations.check()
        while True:
            view = await self._view(cursor)
            if cursor.is_news(view):
                view = cursor.raised(view)
                cursor = cursor.after(view)
                yield jobs_pb2.WatchJobResponse(job=job_message(view, self._store), resume_token=cursor.token())
            if view.terminal:
                return
            with contextlib.suppress(NotFound):
                while await self._ledger.revision(job) == view.revision:
                    await asyncio.sleep(POLL_S)

    async def _view(self, cursor: WatchCursor) -> JobView:
        """Return the job, which is waited for while Redis has lost something that has not been indexed again.

        Raises:
            NotFound: if there is no such job.
            Unavailable: if not all jobs are indexed again within INDEX_S.
        """
        deadline = time.monotonic() + INDEX_S
        while True:
            indexed = bool(cursor.revision) or await self._ledger.is_indexed()
            try:
                view = await self._ledger.job(cursor.job)
            except NotFound:
                if await self._ledger.is_indexed():  # and was not emptied in between
                    raise
            else:
                if indexed:
                    return view
            if time.monotonic() > deadline:
                await self._ledger.check_indexed()
            await asyncio.sleep(POLL_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchCursor:
    """What was sent last, and the highest numbers so far."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    job: JobId
    revision: Count = 0
    state: str = ""
    images_done: Count = 0
    images_committed: Count = 0
    shards_done: Count = 0
    attempts: Count = 0
    bytes_committed: Count = 0

    def token(self) -> str:
        """Return it as a resume token."""
        text = json.dumps(dataclasses.asdict(self), separators=(",", ":"))
        return base64.urlsafe_b64encode(text.encode()).decode()

    def is_news(self, view: JobView) -> bool:
        """Whether a watcher has not seen this view; the end of a job is always news."""
        return view.terminal or (view.revision, view.state) != (self.revision, self.state)

    def raised(self, view: JobView) -> JobView:
        """Return the view with no number below the highest seen."""
        return dataclasses.replace(view, **{name: max(getattr(self, name), getattr(view, name)) for name in _NUMBERS})

    def after(self, view: JobView) -> WatchCursor:
        """Return the cursor once this view, raised, was sent."""
        numbers = {name: getattr(view, name) for name in _NUMBERS}
        return WatchCursor(job=self.job, revision=view.revision, state=view.state, **numbers)


def read_cursor(job: str, token: str, violations: Violations) -> WatchCursor:
    """Read the token of an earlier watch; an empty one has seen nothing. Notes `resume_token` if it is not one."""
    if not token:
        return WatchCursor(job=job)
    try:
        cursor = _CURSOR.validate_json(base64.b64decode(token, altchars="-_", validate=True))
    except (binascii.Error, ValueError, ValidationError):
        cursor = None
    if cursor is None or cursor.job != job:
        violations.add("resume_token", "must be the resume_token of an earlier answer about the same job")
        return WatchCursor(job=job)
    return cursor


_NUMBERS = ("images_done", "images_committed", "shards_done", "attempts", "bytes_committed")
_CURSOR = TypeAdapter(WatchCursor)
