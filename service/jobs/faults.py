"""Crash points for the fault tests: places in the life of a job at which a process can be told to die.

MINTAGE_CRASHES names a folder. A process that reaches the point `after_fsync` and finds a file of that name there, or
one named `after_fsync@2.1` during its first attempt at shard 2, removes it and dies. So exactly one process of a whole
stack dies for each file. Without the variable nothing here does anything.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from pathlib import Path

EXIT_STATUS = 137  # that of a process killed by SIGKILL

_attempt = ContextVar("attempt", default="")


def attempting(shard: int, attempt: int) -> None:
    """Note which attempt at which shard this task is, for its crash points."""
    _attempt.set(f"{shard}.{attempt}")


def crash_point(name: str) -> None:
    """Die as by SIGKILL if a file asks for it."""
    folder = os.environ.get("MINTAGE_CRASHES")
    if folder is None:
        return
    for file in (name, f"{name}@{_attempt.get()}"):
        try:
            Path(folder, file).unlink()
        except FileNotFoundError:
            continue
        os._exit(EXIT_STATUS)
