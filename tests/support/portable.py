"""Takes away what only Linux has, so that the fast tests run as on another system, such as macOS."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import socket
import time
from types import ModuleType

LINUX_ONLY: dict[ModuleType, tuple[str, ...]] = {
    os: (
        *("sched_getaffinity", "sched_setaffinity", "pidfd_open", "posix_fallocate", "posix_fadvise", "pipe2"),
        *("memfd_create", "eventfd", "splice", "copy_file_range", "fdatasync", "getrandom"),
    ),
    signal: ("pidfd_send_signal", "sigtimedwait", "sigwaitinfo"),
    socket: ("SO_PEERCRED",),
    fcntl: ("F_OFD_GETLK", "F_OFD_SETLK", "F_OFD_SETLKW"),
    resource: ("prlimit",),
    time: ("CLOCK_BOOTTIME",),
}


def remove_linux_only() -> None:
    """Remove the calls and constants that Python has on Linux alone, in this process."""
    for module, names in LINUX_ONLY.items():
        for name in names:
            if hasattr(module, name):
                delattr(module, name)
