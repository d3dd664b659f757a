"""How long a call may take."""

from __future__ import annotations

from typing import Any

from service.models.asking.admission import Deadline

MARGIN_S = 0.05  # before the client's deadline: time for our answer, or our error, to arrive


def deadline_of(context: Any, max_deadline_s: float) -> Deadline:
    """Return the deadline of a call: the client's, capped, and a margin earlier so that the answer arrives in time."""
    remaining_s = context.time_remaining()
    limit_s = max_deadline_s if remaining_s is None else min(remaining_s, max_deadline_s)
    return Deadline.after(max(0.0, limit_s - min(MARGIN_S, limit_s / 10)))
