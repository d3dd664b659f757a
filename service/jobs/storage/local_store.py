"""Jobs in a folder of this machine."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

from service.jobs.plan import PLAN_FILE
from service.jobs.storage.local_output import LocalOutput


class LocalStore:
    """The folder `root`, with a folder for each job below it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def output(self, prefix: str, *, existing: bool = False) -> LocalOutput:
        """Name a job's folder."""
        return LocalOutput(self.root, prefix, existing=existing)

    def plan_prefixes(self) -> Iterator[str]:
        """Yield the prefixes that hold a plan, in order; follows no symbolic link and does not look below a job."""
        for folder, folders, files in os.walk(self.root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if PLAN_FILE in files:
                folders.clear()
                yield Path(folder).relative_to(self.root).as_posix()

    def check_writable(self, prefix: str) -> None:
        """Raise PermissionError if the nearest folder that exists cannot be written."""
        folder = self.root / prefix
        while not folder.exists():
            folder = folder.parent
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    def uri(self, prefix: str) -> str:
        """Return the path of a job's folder."""
        return str(self.root / prefix)
