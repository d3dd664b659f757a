"""Crash points for the fault tests: MINTAGE_CRASH_AT names the one at which the process dies, once.

The file that MINTAGE_CRASH_ONCE names is removed first, so that exactly one process of a whole stack dies. Without
these two variables nothing here does anything.
"""

from __future__ import annotations

import os
from pathlib import Path

EXIT_STATUS = 137


def crash_point(name: str) -> None:
    """Die as by SIGKILL if this is the named crash point and nobody has died there yet."""
    if os.environ.get("MINTAGE_CRASH_AT") != name:
        return
    try:
        Path(os.environ["MINTAGE_CRASH_ONCE"]).unlink()
    except (KeyError, FileNotFoundError):
        return
    os._exit(EXIT_STATUS)
