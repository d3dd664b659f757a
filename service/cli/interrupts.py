"""Ctrl-C and SIGTERM, never lost: the first raises KeyboardInterrupt, and is remembered in case that was swallowed.

Python drops an exception that a signal raises inside a destructor or a callback of C code. Verbs that start processes
therefore ask `check` between their steps.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
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


def status(received: Sequence[int] = _received) -> int:
    """Exit status of an interrupted command, as shells count: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (received[-1] if received else signal.SIGINT)


def leave(code: str | int | None) -> None:
    """End this process at once if its exit status is that of an interrupted command, else return.

    What C code was interrupted in, such as grpc's, is not fit for the interpreter's own end: one demo in eleven ended
    with SIGABRT there. By now everything is cleaned up, but for what is registered to be at exit.
    """
    if code in (status([signal.SIGINT]), status([signal.SIGTERM])):
        atexit._run_exitfuncs()  # as the interpreter does first
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):  # nobody reads it any more
                stream.flush()
        os._exit(int(code))


@contextlib.contextmanager
def collected() -> Iterator[list[int]]:
    """Collect the first Ctrl-C or SIGTERM; a second one has its usual effect.

    Under torchrun all are collected: a Ctrl-C reaches a process twice, from the terminal and from torchrun, which kills
    processes that do not end.
    """
    caught: list[int] = []
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    def remember(number: int, frame: FrameType | None) -> None:
        caught.append(number)
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            restore()

    for number in previous:
        signal.signal(number, remember)
    try:
        yield caught
    finally:
        restore()


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
