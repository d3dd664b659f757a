"""How much work a model gets at once: a bounded number of running calls, a bounded queue before them, deadlines.

A call that finds the queue full is refused at once and told when to try again. TorchServe does not hear of a caller
that gives up, so a slot is free only once the model has really answered, not when the caller has left.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from service.errors import DeadlineExceeded, ResourceExhausted

T = TypeVar("T")

MIN_RETRY_S, MAX_RETRY_S = 0.1, 10.0  # bounds of the advice: no busy loop, no caller lost for long
MEAN_WEIGHT = 0.1  # of the newest call in the mean duration, which so covers about the last ten


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of the monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The moment this many seconds from now."""
        return cls(time.monotonic() + seconds)

    def remaining_s(self) -> float:
        """Seconds left, 0 when it has passed."""
        return max(0.0, self.at - time.monotonic())


@dataclass(slots=True)
class Caller:
    """The caller of a piece of work; work in several steps stops between two of them once the caller is `gone`."""

    gone: bool = False


class Admission:
    """The slots and the queue of one model.

    Args:
        concurrent: Slots: calls that run at one time.
        waiting: Calls that may wait for a slot.
        waiting_bytes: Most bytes that the requests of waiting calls hold together.
    """

    def __init__(self, *, concurrent: int, waiting: int, waiting_bytes: int) -> None:
        self._slots = asyncio.Semaphore(concurrent)
        self._concurrent = concurrent
        self._max_waiting = waiting
        self._max_waiting_bytes = waiting_bytes
        self._waiting_bytes = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._mean_s = 0.1  # seconds; a guess until the first call ends
        self.waiting = 0

    @property
    def running(self) -> int:
        """Calls at the model now, including those whose caller is gone."""
        return len(self._tasks)

    @property
    def idle(self) -> bool:
        """Whether no call runs or waits."""
        return not self._tasks and not self.waiting

    async def run(
        self, work: Callable[[Caller], Coroutine[Any, Any, T]], *, deadline: Deadline, size_bytes: int = 0
    ) -> T:
        """Do a piece of work once a slot is free, and return its result.

        If the caller is cancelled or the deadline passes, the work continues and keeps its slot until it ends.

        Raises:
            ResourceExhausted: if the queue is full.
            DeadlineExceeded: if the deadline passes first.
        """
        await self._enter(deadline, size_bytes)
        caller = Caller()
        task = asyncio.create_task(work(caller))
        self._tasks.add(task)
        start = time.monotonic()
        task.add_done_callback(lambda task: self._leave(task, start))
        try:
            async with asyncio.timeout(deadline.remaining_s()) as limit:
                return await asyncio.shield(task)
        except TimeoutError:
            if not limit.expired():
                raise
            raise DeadlineExceeded("the deadline passed before the model answered") from None
        finally:
            caller.gone = True

    async def close(self) -> None:
        """Cancel the work that is still running."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _enter(self, deadline: Deadline, size_bytes: int) -> None:
        if self._slots.locked():
            self._refuse_if_full(size_bytes)
        self.waiting += 1
        self._waiting_bytes += size_bytes
        try:
            async with asyncio.timeout(deadline.remaining_s()):
                await self._slots.acquire()
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed while the call waited for the model") from None
        finally:
            self.waiting -= 1
            self._waiting_bytes -= size_bytes

    def _refuse_if_full(self, size_bytes: int) -> None:
        too_large = self.waiting and self._waiting_bytes + size_bytes > self._max_waiting_bytes
        if self.waiting < self._max_waiting and not too_large:
            return
        expected_s = self._mean_s * (self.waiting + 1) / self._concurrent
        raise ResourceExhausted(
            f"{self.running} calls are at this model and {self.waiting} wait; try again later",
            retry_after_s=min(MAX_RETRY_S, max(MIN_RETRY_S, expected_s)),
        )

    def _leave(self, task: asyncio.Task[Any], start: float) -> None:
        self._tasks.discard(task)
        self._slots.release()
        self._mean_s += MEAN_WEIGHT * (time.monotonic() - start - self._mean_s)
        if not task.cancelled():
            task.exception()  # the caller, if there still is one, gets it from `shield`


class Admissions:
    """One `Admission` per model, so that a stuck model takes no slot from the others."""

    def __init__(self, *, concurrent: int, waiting: int, waiting_bytes: int) -> None:
        self._make = functools.partial(Admission, concurrent=concurrent, waiting=waiting, waiting_bytes=waiting_bytes)
        self._by_model: dict[str, Admission] = {}

    def of(self, backend_name: str) -> Admission:
        """The admission of one model."""
        if backend_name not in self._by_model:
            self._by_model = {name: each for name, each in self._by_model.items() if not each.idle}
            self._by_model[backend_name] = self._make()
        return self._by_model[backend_name]

    def counts(self) -> dict[str, tuple[int, int]]:
        """Running and waiting calls by model."""
        return {name: (way.running, way.waiting) for name, way in list(self._by_model.items())}

    async def close(self) -> None:
        """Cancel the work that is still running."""
        await asyncio.gather(*(way.close() for way in self._by_model.values()))
