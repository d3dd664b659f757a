"""What the watcher of a job has seen: so that a watch can be taken up again, and progress never falls in between.

Where Redis was emptied, a job is indexed again from its shards and counts anew from nought; whoever watches it keeps
the highest numbers that it saw, on this stream or on the one whose token it brings.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from dataclasses import dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from service.jobs.ledger.views import JobView
from service.jobs.plan import JobId
from service.validation import Violations

Count = Annotated[int, Field(ge=0, lt=2**63)]


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
        """Whether a watcher does not know this view; the end of a job always is."""
        return view.terminal or (view.revision, view.state) != (self.revision, self.state)

    def raised(self, view: JobView) -> JobView:
        """Return the view with no number below what was seen."""
        return dataclasses.replace(view, **{name: max(getattr(self, name), getattr(view, name)) for name in _NUMBERS})

    def after(self, view: JobView) -> WatchCursor:
        """Return what is seen once this view, raised, was sent."""
        numbers = {name: getattr(view, name) for name in _NUMBERS}
        return WatchCursor(job=self.job, revision=view.revision, state=view.state, **numbers)


def seen_before(job: str, token: str, violations: Violations) -> WatchCursor:
    """Read the token of an earlier watch; nothing was seen if it is empty; notes `resume_token` if it is none."""
    if not token:
        return WatchCursor(job=job)
    try:
        seen = _SEEN.validate_json(base64.b64decode(token, altchars="-_", validate=True))
    except (binascii.Error, ValueError, ValidationError):
        seen = None
    if seen is None or seen.job != job:
        violations.add("resume_token", "must be the resume_token of an earlier answer about the same job")
        return WatchCursor(job=job)
    return seen


_NUMBERS = ("images_done", "images_committed", "shards_done", "attempts", "bytes_committed")
_SEEN = TypeAdapter(WatchCursor)
