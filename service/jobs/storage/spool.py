"""Files on their way to an object store: a local folder per process, removed once its process is dead.

A process holds a lock on its folder; the kernel releases the lock when the process ends, however it does.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from service.errors import FailedPrecondition
from service.jobs.storage.local_output import LocalOutput
from service.jobs.storage.output import Temporary, TemporaryFolder

LOCK = "lock"


class Spool:
    """Temporary files and folders below `root`; made at first use."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._files: LocalOutput | None = None

    def temporary(self, label: str) -> AbstractContextManager[Temporary]:
        """Open a new file; it is gone when the block ends."""
        return self._opened().temporary(label)

    def temporary_folder(self, label: str) -> AbstractContextManager[TemporaryFolder]:
        """Make a new folder; it is gone with its files when the block ends."""
        return self._opened().temporary_folder(label)

    def _opened(self) -> LocalOutput:
        if self._files is None:
            try:
                self._root.mkdir(parents=True, exist_ok=True)
                with _locked(self._root / LOCK, wait=True):
                    self._sweep()
                    self._files = self._own()
            except (PermissionError, NotADirectoryError, FileExistsError) as error:
                text = f"the spool folder cannot be used: {error.strerror}; set MINTAGE_SPOOL_DIR to another"
                raise FailedPrecondition(text, reason="OUTPUT_UNAVAILABLE") from error
        return self._files

    def _own(self) -> LocalOutput:
        """Make this process's folder, locked until the process ends."""
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        folder = self._root / name
        folder.mkdir()
        descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        return LocalOutput(self._root, name)

    def _sweep(self) -> None:
        """Remove the folders of processes that are dead."""
        for folder in self._root.iterdir():
            if folder.is_dir():
                with contextlib.suppress(BlockingIOError), _locked(folder / LOCK, wait=False):
                    shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _locked(file: Path, *, wait: bool) -> Iterator[None]:
    """Hold the lock of a file.

    Raises:
        BlockingIOError: if another process holds it and `wait` is false.
    """
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(descriptor)
