"""How much work a model is given at once: a bounded number of calls at it, a bounded line before it, deadlines.

Whoever comes when the line is full is refused at once and told when to come again. TorchServe does not hear of a
caller who gives up, so a place is free again only when the model has really answered, not when the caller has left.
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

MIN_RETRY_S, MAX_RETRY_S = 0.1, 10.0


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment of the monotonic clock."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The moment that is so many seconds from now."""
        return cls(time.monotonic() + seconds)

    def remaining_s(self) -> float:
        """Seconds left, 0 when it has passed."""
        return max(0.0, self.at - time.monotonic())


@dataclass(slots=True)
class Caller:
    """Who waits for a piece of work; work in several steps stops between two of them once `gone`."""

    gone: bool = False


class Admission:
    """The way to one model.

    Args:
        concurrent: Pieces of work at one time.
        waiting: Pieces of work that may wait.
        waiting_bytes: Most bytes that the requests of those waiting hold together.
    """

    def __init__(self, *, concurrent: int, waiting: int, waiting_bytes: int) -> None:
        self._places = asyncio.Semaphore(concurrent)
        self._concurrent = concurrent
        self._most_waiting = waiting
        self._most_waiting_bytes = waiting_bytes
        self._waiting_bytes = 0
        self._tasks: set[asyncio.Task[Any]] = set()
        self._mean_s = 0.1
        self.waiting = 0

    @property
    def running(self) -> int:
        """Pieces of work at the model now, those included whose caller is gone."""
        return len(self._tasks)

    @property
    def idle(self) -> bool:
        """Whether nobody is at the model or waits."""
        return not self._tasks and not self.waiting

    async def run(
        self, work: Callable[[Caller], Coroutine[Any, Any, T]], *, deadline: Deadline, size_bytes: int = 0
    ) -> T:
        """Do a piece of work when there is a place, and return its result.

        If the caller is cancelled or the deadline passes, the work goes on alone and keeps its place until it ends.

        Raises:
            ResourceExhausted: if the line is full.
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
        """End the work of those who are gone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _enter(self, deadline: Deadline, size_bytes: int) -> None:
        if self._places.locked():
            self._refuse_if_full(size_bytes)
        self.waiting += 1
        self._waiting_bytes += size_bytes
        try:
            async with asyncio.timeout(deadline.remaining_s()):
                await self._places.acquire()
        except TimeoutError:
            raise DeadlineExceeded("the deadline passed while the call waited for the model") from None
        finally:
            self.waiting -= 1
            self._waiting_bytes -= size_bytes

    def _refuse_if_full(self, size_bytes: int) -> None:
        too_large = self.waiting and self._waiting_bytes + size_bytes > self._most_waiting_bytes
        if self.waiting < self._most_waiting and not too_large:
            return
        expected_s = self._mean_s * (self.waiting + 1) / self._concurrent
        raise ResourceExhausted(
            f"{self.running} calls are at this model and {self.waiting} wait; try again later",
            retry_after_s=min(MAX_RETRY_S, max(MIN_RETRY_S, expected_s)),
        )

    def _leave(self, task: asyncio.Task[Any], start: float) -> None:
        self._tasks.discard(task)
        self._places.release()
        self._mean_s += 0.1 * (time.monotonic() - start - self._mean_s)
        if not task.cancelled():
            task.exception()  # the caller, if there still is one, gets it from `shield`


class Admissions:
    """One `Admission` a model, so that a stuck model takes no place from the others."""

    def __init__(self, *, concurrent: int, waiting: int, waiting_bytes: int) -> None:
        self._make = functools.partial(Admission, concurrent=concurrent, waiting=waiting, waiting_bytes=waiting_bytes)
        self._by_model: dict[str, Admission] = {}

    def of(self, backend_name: str) -> Admission:
        """The way to one model."""
        if backend_name not in self._by_model:
            self._by_model = {name: way for name, way in self._by_model.items() if not way.idle}
            self._by_model[backend_name] = self._make()
        return self._by_model[backend_name]

    def counts(self) -> dict[str, tuple[int, int]]:
        """Running and waiting pieces of work by model."""
        return {name: (way.running, way.waiting) for name, way in list(self._by_model.items())}

    async def close(self) -> None:
        """End the work of those who are gone."""
        await asyncio.gather(*(way.close() for way in self._by_model.values()))
