"""Crash points for the fault tests: places in the making of a job at which a process may be told to die.

MINTAGE_CRASHES names a folder. Whoever comes to the point `after_fsync` and finds a file of that name there, or one
named `after_fsync@2.1` while it attempts shard 2 for the first time, removes it and dies. So of a whole stack exactly
one process dies for each file. Without the variable nothing here does anything.
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from pathlib import Path

EXIT_STATUS = 137

_attempt = ContextVar("attempt", default="")


def attempting(shard: int, attempt: int) -> None:
    """Say which attempt at which shard this task is, for the crash points that it comes to."""
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
