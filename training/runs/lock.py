"""The lock of a run folder: one training at a time writes to it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from training.errors import RunError

LOCK_FILE = ".lock"  # holds the process's id while it trains; deleted when it ends
TRIES, PAUSE_S = 5, 0.1  # whoever only looks holds the lock for a moment


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the lock of a run folder, which exists; the system releases it when the process dies, however it dies.

    On a file system that has no locks nothing is held.

    Raises:
        RunError: if another process holds it; names the process.
    """
    descriptor = _locked_file(run)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            (run / LOCK_FILE).unlink()
        os.close(descriptor)


def holder(run: Path) -> int | None:
    """Return the id of the process that trains in a run folder, 0 if it is unknown, or None if none does."""
    try:
        descriptor = os.open(run / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return _written(descriptor) if error.errno in (errno.EWOULDBLOCK, errno.EACCES) else None
    else:
        return None
    finally:
        os.close(descriptor)


def _locked_file(run: Path) -> int:
    """Open and lock the file that has the lock's name now: the last holder may have deleted the one just opened."""
    path = run / LOCK_FILE
    for left in reversed(range(TRIES)):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return descriptor  # there are no locks here
            process = _written(descriptor)
            os.close(descriptor)
            if not left:
                named = f"process {process}" if process else "another process"
                raise RunError(
                    f"{run} is being trained by {named}; wait for it or stop it, or choose another --run folder"
                ) from None
            time.sleep(PAUSE_S)
            continue
        with contextlib.suppress(FileNotFoundError):
            if path.stat().st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)
    raise RunError(f"{path} cannot be locked: other processes create and delete it; run the same command again")


def _written(descriptor: int) -> int:
    """Return the process's id that the file holds, 0 if it holds none yet."""
    text = os.pread(descriptor, 20, 0).decode("ascii", "replace").strip()
    return int(text) if text.isdigit() else 0
