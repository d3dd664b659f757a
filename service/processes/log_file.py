"""The log file of a supervised process: appended to by every start, rotated by its supervisor."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import BinaryIO

MAX_BYTES = 20 * 2**20  # of the file that is written; the JVM's own log has the same
KEPT = 3  # older files: api.1.log is the latest of them
TAIL_BYTES = 64 * 2**10  # at most, of the end of a log that an error shows


class LogFile:
    """One log file. The process writes to it directly, at its end, whatever happens here."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = 0  # where the lines of the present start begin

    def __str__(self) -> str:
        return str(self.path)

    def open(self) -> BinaryIO:
        """Open the file for a new start of the process."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.rotate()
        file = self.path.open("ab")
        self._start = os.fstat(file.fileno()).st_size
        return file

    def append(self, line: str) -> None:
        """Write a line of the supervisor's own, if there is space for it."""
        with contextlib.suppress(OSError), self.path.open("ab") as file:
            file.write(f"mintage: {line}\n".encode())

    def text(self) -> str:
        """Return what this start of the process has written, or the end of it."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(self._start, size - TAIL_BYTES))
            return file.read().decode(errors="replace")

    def tail(self, lines: int = 15) -> str:
        """Return the last lines of what this start of the process has written."""
        return "\n".join(self.text().splitlines()[-lines:])

    def rotate(self) -> None:
        """Keep the lines in `{name}.1.log` and begin anew once the file is large; without space it just grows on.

        The process cannot be told to open another file, so the lines are copied and the file is emptied. A line that is
        written between these two is lost.
        """
        with contextlib.suppress(OSError):
            if self.path.stat().st_size <= MAX_BYTES:
                return
            for number in range(KEPT, 1, -1):
                with contextlib.suppress(FileNotFoundError):
                    self._older(number - 1).replace(self._older(number))
            with self.path.open("r+b") as source, self._older(1).open("wb") as target:
                shutil.copyfileobj(source, target)
                source.truncate(0)
            self._start = 0

    def _older(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.stem}.{number}{self.path.suffix}")
