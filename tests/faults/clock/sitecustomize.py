"""A wrong clock: with this folder on PYTHONPATH a Python process lives MINTAGE_TEST_CLOCK_S seconds ahead or behind.

What libfaketime does, for `time.time`, `time.time_ns` and `datetime` only. The kernel's own clocks, the monotonic one
and the times of files stay as they are; so does the time of gRPC, whose C half reads the kernel's clock.
"""

from __future__ import annotations

import datetime
import os
import sys
import time
from typing import Any

OFFSET_S = int(os.environ["MINTAGE_TEST_CLOCK_S"])

_time, _time_ns = time.time, time.time_ns


class Datetime(datetime.datetime):
    """A datetime whose now is elsewhere."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        """The shifted time."""
        return super().now(tz) + datetime.timedelta(seconds=OFFSET_S)

    @classmethod
    def utcnow(cls) -> Any:
        """The shifted time, without a zone."""
        return cls.now(datetime.UTC).replace(tzinfo=None)


def _shifted_time() -> float:
    caller = str(sys._getframe(1).f_globals.get("__name__"))
    return _time() + (0 if caller.startswith("grpc.") else OFFSET_S)


def _shifted_time_ns() -> int:
    return _time_ns() + OFFSET_S * 1_000_000_000


time.time, time.time_ns = _shifted_time, _shifted_time_ns
datetime.datetime = Datetime  # type: ignore[misc]
