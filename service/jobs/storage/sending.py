"""The bytes of files of this machine on their way to an object store."""

from __future__ import annotations

import contextlib
import mmap
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

from service.jobs.storage.output import OutputError, TemporaryFolder

if TYPE_CHECKING:
    from typing_extensions import Buffer

MAX_PUT = 5 << 30  # the most that S3 takes in one piece


def content(folder: TemporaryFolder, file: str) -> bytes:
    """Read a file of a folder; a link is not followed."""
    descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder.descriptor)
    with os.fdopen(descriptor, "rb") as opened:
        return opened.read()


def size_of(folder: TemporaryFolder, file: str) -> int:
    """Return the size of a file of a folder in bytes; a link is not followed."""
    return os.stat(file, dir_fd=folder.descriptor, follow_symlinks=False).st_size


@contextlib.contextmanager
def mapped(file: BinaryIO, name: str) -> Iterator[Buffer]:
    """Yield a file's bytes without reading them into memory: the kernel fetches them as they are sent."""
    file.flush()
    size = os.fstat(file.fileno()).st_size
    if size > MAX_PUT:
        raise OutputError(
            f"{name} has more than 5 GiB, which S3 does not take in one piece; choose a smaller shard_size"
        )
    if size == 0:
        yield b""
        return
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield data
