"""Ctrl-C and SIGTERM, never lost: the first raises KeyboardInterrupt, and is remembered in case that was swallowed.

Python drops an exception that a signal raises inside a destructor or a callback of C code. Verbs that start processes
therefore ask `check` between their steps.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from types import FrameType

_received: list[int] = []


def end_by_sigterm() -> None:
    """Let SIGTERM end the command as Ctrl-C does: with words, and after what it began is cleaned up."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _raise)


def leave_sigterm() -> None:
    """Let SIGTERM end a process of the stack at once until that process has its own way to leave.

    What a handler raises in a destructor is lost, and the process would start on until it is killed.
    """
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def status() -> int:
    """Exit status of an interrupted command, as shells count: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_received[-1] if _received else signal.SIGINT)


def leave(code: object) -> None:
    """End this process at once if its exit status is that of an interrupted command, else return.

    What C code was interrupted in, such as grpc's, is not fit for the interpreter's own end: one demo in eleven ended
    with SIGABRT there. By now everything is cleaned up.
    """
    if code == status():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # nobody reads it any more
                stream.flush()
        os._exit(status())


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
