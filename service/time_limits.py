"""Time limits of much work at once, watched by one timer: `asyncio.timeout` makes one for each, at 3.4 us a piece."""

from __future__ import annotations

import asyncio
import time
from types import TracebackType

TICK_S = 0.01  # that a limit may be late


class TimeLimits:
    """The limits of one event loop."""

    def __init__(self) -> None:
        self._open: set[TimeLimit] = set()
        self._watching = False

    def until(self, at: float) -> TimeLimit:
        """Limit what is done in an `async with` to a moment of the monotonic clock; then it raises TimeoutError."""
        return TimeLimit(self, at)

    def expire(self) -> None:
        """End all that is being done."""
        for limit in self._open:
            limit.expire()

    def begin(self, limit: TimeLimit) -> None:
        """Watch a limit."""
        self._open.add(limit)
        if not self._watching:
            self._watching = True
            self._tick()

    def end(self, limit: TimeLimit) -> None:
        """Watch a limit no more."""
        self._open.discard(limit)

    def _tick(self) -> None:
        now = time.monotonic()
        for limit in self._open:
            if limit.at <= now:
                limit.expire()
        self._watching = bool(self._open)
        if self._watching:
            asyncio.get_running_loop().call_later(TICK_S, self._tick)


class TimeLimit:
    """One limit, for one `async with`; made by `TimeLimits.until`.

    Attributes:
        at: Its moment, on the monotonic clock.
        expired: Whether it ended what was being done.
    """

    __slots__ = ("_cancelling", "_limits", "_task", "at", "expired")

    def __init__(self, limits: TimeLimits, at: float) -> None:
        self._limits = limits
        self.at = at
        self.expired = False

    def expire(self) -> None:
        """End what is being done."""
        if not self.expired:
            self.expired = True
            self._task.cancel()

    async def __aenter__(self) -> TimeLimit:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is a coroutine
        self._task, self._cancelling = task, task.cancelling()
        self._limits.begin(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._limits.end(self)
        # A cancel from outside beside ours counts more; so asyncio.timeout has it.
        if self.expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
