"""Ctrl-C and SIGTERM, never lost: the first raises KeyboardInterrupt, and is remembered in case that was swallowed.

Python drops an exception that a signal raises inside a destructor or a callback of C code. Verbs that start processes
therefore ask `check` between their steps.
"""

from __future__ import annotations

import signal
import time
from types import FrameType

_received: list[int] = []


def install() -> None:
    """Let Ctrl-C and SIGTERM end the command alike, cleanly."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _raise)


def check() -> None:
    """Raise KeyboardInterrupt if a signal has come."""
    if _received:
        raise KeyboardInterrupt


def wait() -> None:
    """Wait for a signal; raises KeyboardInterrupt."""
    while True:
        check()
        time.sleep(1.0)


def _raise(number: int, _frame: FrameType | None) -> None:
    _received.append(number)
    raise KeyboardInterrupt
