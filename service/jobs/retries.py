"""Repeats a call that fails for a moment."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.errors import DeadlineExceeded, ResourceExhausted, Unavailable

RETRY_FIRST_S, RETRY_MOST_S = 0.1, 3.0
TRANSIENT = (Unavailable, ResourceExhausted, DeadlineExceeded)

T = TypeVar("T")


async def patiently(call: Callable[[], Awaitable[T]], patience_s: float) -> T:
    """Repeat a call that fails for a moment, with growing pauses, until patience_s have passed."""
    deadline = time.monotonic() + patience_s
    pause_s = RETRY_FIRST_S
    while True:
        try:
            return await call()
        except TRANSIENT:
            if time.monotonic() + pause_s > deadline:
                raise
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - only spreads the load
        pause_s = min(2 * pause_s, RETRY_MOST_S)
