"""When a failed call may be made again: only what may be repeated, only where it may help, within the deadline."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass

import grpc

from mintage.errors import ApiError, InputError, TimedOut

_FOREVER_S = 10 * 365 * 86_400.0  # gRPC counts a deadline in nanoseconds of 64 bits


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and how long.

    Attributes:
        attempts: Calls in all, the first one included; 1 switches retries off. These last some twelve seconds: a server
            on a busy machine may take as long to start.
        first_pause_s: Pause before the second; each further pause is twice as long.
        max_pause_s: Upper bound of that.
        restart_attempts: As `attempts`, where the server does not answer but has answered this client before: half a
            minute.
    """

    attempts: int = 9
    first_pause_s: float = 0.1
    max_pause_s: float = 5.0
    restart_attempts: int = 12


class Attempts:
    """The attempts at one call.

    Args:
        retries: How often and how long.
        repeatable: Whether making the call twice is the same as making it once.
        timeout_s: Time for all attempts and pauses together; None or infinity is no limit.
        had_an_answer: Whether the server has answered this client before.

    Raises:
        InputError: if the time is not a number.
    """

    def __init__(
        self, retries: Retries, *, repeatable: bool, timeout_s: float | None, had_an_answer: bool = False
    ) -> None:
        if timeout_s is not None and math.isnan(timeout_s):
            raise InputError("timeout_s must be a number of seconds, not nan")
        self._retries = retries
        self._repeatable = repeatable
        self._deadline = None if timeout_s is None or timeout_s > _FOREVER_S else time.monotonic() + timeout_s
        self._made = 0
        self._had_an_answer = had_an_answer

    def remaining_s(self) -> float | None:
        """Time left for the next attempt.

        Raises:
            TimedOut: if there is none.
        """
        if self._deadline is None:
            return None
        remaining_s = self._deadline - time.monotonic()
        if remaining_s <= 0:
            raise TimedOut("the deadline passed", code=grpc.StatusCode.DEADLINE_EXCEEDED)
        return remaining_s

    def pause_after(self, error: ApiError) -> float:
        """Seconds to wait before the next attempt; raises the error if there shall be none.

        UNAVAILABLE may be tried again, RESOURCE_EXHAUSTED if the server says when. The pause varies at random, so that
        clients that failed together do not come back together.
        """
        self._made += 1
        told = error.code is grpc.StatusCode.RESOURCE_EXHAUSTED and error.retry_after_s is not None
        may_help = told or error.code is grpc.StatusCode.UNAVAILABLE
        if not (self._repeatable and may_help and self._made < self._max_attempts(error)):
            raise error
        longest_s: float = min(self._retries.max_pause_s, self._retries.first_pause_s * 2 ** (self._made - 1))
        pause_s = (error.retry_after_s or 0.0) + longest_s * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        if self._deadline is not None and time.monotonic() + pause_s >= self._deadline:
            raise error
        return pause_s

    def succeeded(self) -> None:
        """Begin to count anew: a stream has said something."""
        self._made = 0
        self._had_an_answer = True

    def _max_attempts(self, error: ApiError) -> int:
        restarts = self._had_an_answer and error.code is grpc.StatusCode.UNAVAILABLE and self._retries.attempts > 1
        return max(self._retries.attempts, self._retries.restart_attempts) if restarts else self._retries.attempts
