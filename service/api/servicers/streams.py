"""Streams of images in parts: the next parts are begun when the caller has taken one, and none once it has left."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from service.errors import ResourceExhausted
from service.models.asking.admission import Caller

T = TypeVar("T")

PARTS_AHEAD = 2  # of a stream in work at a time: one is computed while another is encoded or sent


async def in_order(parts: Iterable[Coroutine[Any, Any, T]]) -> AsyncGenerator[T, None]:
    """Yield what the parts make, in their order; closing it ends those that are in work."""
    begun: deque[asyncio.Task[T]] = deque()
    try:
        for part in parts:
            begun.append(asyncio.create_task(part))
            if len(begun) == PARTS_AHEAD:
                yield await begun.popleft()
        while begun:
            yield await begun.popleft()
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)


async def let_in(make: Callable[[], Awaitable[T]], caller: Caller, *, first: bool) -> T:
    """Make one part of a stream. Only the first may be refused: a stream that was let in waits for its turn.

    Raises:
        ResourceExhausted: if the first is refused, or the turn would come after the caller's deadline.
    """
    while True:
        try:
            return await make()
        except ResourceExhausted as error:
            pause_s = error.retry_after_s
            if first or not pause_s or pause_s > caller.deadline.remaining_s():
                raise
        await asyncio.sleep(pause_s)
