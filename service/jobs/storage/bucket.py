"""A bucket, and an object of it as a file."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING

import obstore
from obstore.store import S3Store

from service.jobs.storage.bucket_errors import explained

if TYPE_CHECKING:
    from typing_extensions import Buffer

BUFFER_BYTES = 1 << 20  # handed on at a time


@dataclass(frozen=True, slots=True)
class Bucket:
    """A bucket and the part of it that is used; `calls` has a short time limit, `uploads` a long one."""

    name: str
    base: str
    calls: S3Store
    uploads: S3Store

    def key(self, name: str) -> str:
        """Return the key of a name below the base."""
        return f"{self.base}/{name}".strip("/")


def reader(file: obstore.ReadableFile, bucket: str, name: str) -> io.BufferedReader:
    """Read an object of a bucket as a file, from any place; what fails names both."""
    return io.BufferedReader(_Object(file, bucket, name), BUFFER_BYTES)


class _Object(io.RawIOBase):
    """An object as a file that can be read from any place."""

    def __init__(self, file: obstore.ReadableFile, bucket: str, name: str) -> None:
        self._file, self._bucket, self._name = file, bucket, name

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, target: Buffer) -> int:
        view = memoryview(target)
        with explained(self._bucket, self._name):
            data = self._file.read(len(view))
        view[: len(data)] = memoryview(data)
        return len(data)
