"""The log's lines about calls: every rare event, some of what is routine, and a count of the rest.

A call is one line: its method, status and duration. Of calls of one method that end in the same way, a period of ten
seconds has the first ten; one line at its end counts the others. A fault of ours is always a line.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

import grpc
import structlog
from prometheus_client import Counter

from service.metrics import Metrics

PERIOD_S = 10.0
LINES = 10  # of one method and status in a period

_ALWAYS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}
_QUIET = ("/grpc.health.v1.Health/", "/grpc.reflection.")

log = structlog.get_logger("mintage.api")


@dataclass(slots=True)
class _Count:
    """Calls of one method and status in the present period; milliseconds of those that are no line."""

    lines: int = 0
    others: int = 0
    total_ms: float = 0.0
    longest_ms: float = 0.0


class CallLog:
    """Writes the lines. It belongs to the event loop that records calls."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, grpc.StatusCode], _Count] = {}
        self._timer: asyncio.TimerHandle | None = None

    def record(self, method: str, code: grpc.StatusCode, seconds: float) -> None:
        """Write a line for a call that has ended, or count it."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PERIOD_S, self.flush)
        count = self._counts.get((method, code))
        if count is None:
            count = self._counts[method, code] = _Count()
        milliseconds = seconds * 1000
        if code in _ALWAYS or count.lines < LINES:
            count.lines += 1
            write = log.debug if method.startswith(_QUIET) else log.info
            write("call", method=method, code=code.name, duration_ms=round(milliseconds, 1))
        else:
            count.others += 1
            count.total_ms += milliseconds
            count.longest_ms = max(count.longest_ms, milliseconds)

    def flush(self) -> None:
        """Write the counts of the period that ends now, and begin another."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        counts, self._counts = self._counts, {}
        for (method, code), count in counts.items():
            if count.others:
                write = log.debug if method.startswith(_QUIET) else log.info
                write(
                    "more calls",
                    method=method,
                    code=code.name,
                    calls=count.others,
                    mean_ms=round(count.total_ms / count.others, 1),
                    longest_ms=round(count.longest_ms, 1),
                )


class Tally:
    """Counts the calls of one method, in the metrics and in the log.

    Args:
        method: Such as `/mintage.v1.JobService/GetJob`.
        metrics: Where calls are counted; a metric's part for a method is looked up once.
        log: Where they are written down.
    """

    def __init__(self, method: str, metrics: Metrics, log: CallLog) -> None:
        self._method = method
        self._log = log
        self._in_flight = metrics.in_flight.labels(method)
        self._seconds = metrics.seconds.labels(method)
        self._calls = metrics.calls
        self._by_code: dict[grpc.StatusCode, Counter] = {}

    def begin(self) -> float:
        """Count a call that begins; returns when."""
        self._in_flight.inc()
        return time.monotonic()

    def end(self, code: grpc.StatusCode, begun: float) -> None:
        """Count a call that has ended."""
        seconds = time.monotonic() - begun
        if code not in self._by_code:
            self._by_code[code] = self._calls.labels(self._method, code.name)
        self._in_flight.dec()
        self._by_code[code].inc()
        self._seconds.observe(seconds)
        self._log.record(self._method, code, seconds)
