"""Retrying calls that fail transiently."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.errors import DeadlineExceeded, MintageError, ResourceExhausted, Unavailable

FIRST_RETRY_PAUSE_S, MAX_RETRY_PAUSE_S = 0.1, 3.0  # doubled in between: quick after a hiccup, gentle in an outage
TRANSIENT = (Unavailable, ResourceExhausted, DeadlineExceeded)

T = TypeVar("T")


async def retry_transient(
    call: Callable[[], Awaitable[T]],
    retry_budget_s: float,
    *,
    told: Callable[[MintageError | None], object] = lambda _: None,
) -> T:
    """Retry a call that fails transiently, with growing pauses.

    Args:
        call: what to call.
        retry_budget_s: seconds after which a failure is final.
        told: hears of each failure after which the call is made again, and None if it then succeeds.
    """
    deadline = time.monotonic() + retry_budget_s
    pause_s = FIRST_RETRY_PAUSE_S
    failed = False
    while True:
        try:
            result = await call()
        except TRANSIENT as error:
            if time.monotonic() + pause_s > deadline:
                raise
            failed = True
            told(error)
        else:
            if failed:
                told(None)
            return result
        await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - only spreads the load
        pause_s = min(2 * pause_s, MAX_RETRY_PAUSE_S)
