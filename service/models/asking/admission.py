"""How many calls an API holds for each model, and how long each may take.

The order of calls is decided in the model's own process, by one queue for all of its callers. Here only what this
process holds for them is bounded: a call beyond that is refused at once and told when to try again.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

from service.backend.workers import Priority
from service.errors import DeadlineExceeded, ResourceExhausted
from service.time_limits import TimeLimits

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


@dataclass(frozen=True, slots=True)
class Caller:
    """Who has a call made: when it is of no use any more, whose turn it takes, and whether it waits for others."""

    deadline: Deadline
    client: str = ""
    priority: Priority = "interactive"


class Admission:
    """The calls to one model.

    Args:
        calls: Most calls at one time.
        held_bytes: Most bytes that their requests and answers hold together; a lone call may hold more.
        limits: Watches their deadlines.
    """

    def __init__(self, *, calls: int, held_bytes: int, limits: TimeLimits) -> None:
        self._max_calls = calls
        self._max_held_bytes = held_bytes
        self._limits = limits
        self._held_bytes = 0
        self._mean_s = 0.1  # seconds; a guess until the first call ends
        self.calls = 0

    async def run(self, work: Callable[[], Coroutine[Any, Any, T]], *, deadline: Deadline, size_bytes: int = 0) -> T:
        """Do a piece of work and return its result; it is cancelled if the caller is, or when the deadline passes.

        Raises:
            ResourceExhausted: if there are too many calls.
            DeadlineExceeded: if the deadline passes first.
        """
        self._refuse_if_full(size_bytes)
        self.calls += 1
        self._held_bytes += size_bytes
        start = time.monotonic()
        limit = self._limits.until(deadline.at)
        try:
            async with limit:
                return await work()
        except TimeoutError:
            if not limit.expired:
                raise
            raise DeadlineExceeded("the deadline passed before the model answered") from None
        finally:
            self.calls -= 1
            self._held_bytes -= size_bytes
            self._mean_s += MEAN_WEIGHT * (time.monotonic() - start - self._mean_s)

    def _refuse_if_full(self, size_bytes: int) -> None:
        too_large = self.calls and self._held_bytes + size_bytes > self._max_held_bytes
        if self.calls < self._max_calls and not too_large:
            return
        raise ResourceExhausted(
            f"{self.calls} calls are at this model; try again later",
            retry_after_s=min(MAX_RETRY_S, max(MIN_RETRY_S, self._mean_s)),
        )


class Admissions:
    """One `Admission` per model, so that a stuck model keeps no call from the others."""

    def __init__(self, *, calls: int, held_bytes: int) -> None:
        self._make = functools.partial(Admission, calls=calls, held_bytes=held_bytes, limits=TimeLimits())
        self._by_model: dict[str, Admission] = {}

    def of(self, backend_name: str) -> Admission:
        """The admission of one model."""
        if backend_name not in self._by_model:
            self._by_model = {name: each for name, each in self._by_model.items() if each.calls}
            self._by_model[backend_name] = self._make()
        return self._by_model[backend_name]

    def counts(self) -> dict[str, int]:
        """Calls by model."""
        return {name: admission.calls for name, admission in list(self._by_model.items())}
