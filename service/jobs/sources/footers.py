"""Reading the footers of Parquet files in a child process.

Arrow can crash the whole process on a damaged file. A server that lists untrusted files must survive that: only the
footer goes to the child, and if the child dies, the file is refused and the next one gets a new child.

    with Footers() as footers:
        rows = footers.rows(file, "a.parquet")
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import struct
import subprocess
import sys
import threading
from typing import BinaryIO

from service.jobs.sources.inputs import SourceError
from service.jobs.sources.parquet import count_rows

MAGIC = b"PAR1"
MAX_FOOTER = 256 << 20  # bytes that the child may be made to take into memory
READ_TIMEOUT_S = 30.0  # for one footer; a child that takes longer counts as dead
_LENGTH = struct.Struct("<Q")


class Footers:
    """Asks a child how many images Parquet files hold. One thread at a time; the child ends with the `with`."""

    def __init__(self) -> None:
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Footers:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def rows(self, file: BinaryIO, name: str) -> int:
        """Return the number of rows of an open file.

        Raises:
            SourceError: if it is no Parquet file with a column of images.
        """
        footer = _footer(file, name)
        child = self._started()
        timer = threading.Timer(READ_TIMEOUT_S, child.kill)
        timer.start()
        try:
            answer = _asked(child, name, footer)
        finally:
            timer.cancel()
        if answer is None:
            self._end()
            raise SourceError(f"{name} is damaged: Parquet's own reader does not survive it")
        if "error" in answer:
            raise SourceError(answer["error"])
        return int(answer["rows"])

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            command = [sys.executable, "-P", "-m", __name__]
            pipe, null = subprocess.PIPE, subprocess.DEVNULL
            self._child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=null)
        return self._child

    def _end(self) -> None:
        if self._child is not None:
            child, self._child = self._child, None
            child.kill()
            with contextlib.suppress(BrokenPipeError), child:  # what it never read cannot be flushed
                pass
            child.wait()


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer one line of JSON for each file until there are no more: what the child does."""
    while head := requests.read(_LENGTH.size):
        name = requests.read(_LENGTH.unpack(head)[0]).decode()
        footer = requests.read(_LENGTH.unpack(requests.read(_LENGTH.size))[0])
        try:
            answer: dict[str, object] = {"rows": count_rows(io.BytesIO(footer), name)}
        except SourceError as error:
            answer = {"error": str(error)}
        answers.write(json.dumps(answer).encode() + b"\n")
        answers.flush()


def _asked(child: subprocess.Popen[bytes], name: str, footer: bytes) -> dict[str, str] | None:
    """Ask of one file; None if the child dies of it."""
    assert child.stdin is not None and child.stdout is not None  # noqa: S101 - both are pipes
    with contextlib.suppress(BrokenPipeError):
        for part in (name.encode(), footer):
            child.stdin.write(_LENGTH.pack(len(part)) + part)
        child.stdin.flush()
    line = child.stdout.readline()
    return dict(json.loads(line)) if line.endswith(b"\n") else None


def _footer(file: BinaryIO, name: str) -> bytes:
    """Return a file that is nothing but the beginning and the end of another one."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 8, 0))
    tail = file.read()
    length = struct.unpack("<I", tail[:4])[0] if len(tail) == 8 else 0
    if tail[4:] != MAGIC or not 0 < length <= min(size - 12, MAX_FOOTER):
        raise SourceError(f"{name} cannot be read as Parquet: it does not end as such a file does")
    file.seek(size - 8 - length)
    return MAGIC + file.read(length) + tail


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
