"""The port to a job's files: nothing leaves the job's folder, no sound shard is ever overwritten.

`local_output` implements it on a file system, `bucket_output` in an object store.
"""

from __future__ import annotations

import errno
import hashlib
import os
import weakref
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Protocol

TEMPORARY = ".tmp"
HIDDEN = ".mintage"  # where no reader of data sets looks: markers, and the contact sheet
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class OutputError(Exception):
    """Raised when a job's folder is not as it must be: something else is in the way, or a file was changed."""

    reason: ClassVar[str] = "OUTPUT_DAMAGED"


@dataclass(slots=True)
class Temporary:
    """A file that has no name in the job's folder yet: `file` is open, `name` is its own for the moment."""

    name: str
    file: BinaryIO


class TemporaryFolder:
    """A folder of files that has no name in the job's folder yet.

    `descriptor` is of a local folder. It stays open as long as this object is referred to: the thread of an abandoned
    attempt may still be writing, and the number of a closed descriptor would soon be that of another folder.
    """

    def __init__(self, name: str, descriptor: int) -> None:
        self.name, self.descriptor = name, descriptor
        self._closed = False
        weakref.finalize(self, os.close, descriptor)

    def add(self, name: str, data: bytes) -> None:
        """Write a file into it.

        Raises:
            FileNotFoundError: if the folder was removed meanwhile: the attempt counts as dead.
        """
        if self._closed:
            raise FileNotFoundError(errno.ENOENT, "the attempt was abandoned", name)
        with os.fdopen(os.open(name, _CREATE, 0o644, dir_fd=self.descriptor), "wb") as file:
            file.write(data)

    def close(self) -> None:
        """Take no more files; the thread of an abandoned attempt adds one more at most before it notices."""
        self._closed = True


AnyTemporary = Temporary | TemporaryFolder


class Output(Protocol):
    """The folder of one job. All methods block; call them from a thread.

    All raise OSError as a file system does, and OutputError where something other than a plain file or folder is in the
    way. Where the job must exist but was deleted, every write raises FileNotFoundError, so that it does not come back.
    """

    prefix: str
    files_at_once: int  # that are best read in parallel, where there are many small ones

    def put(self, name: str, data: bytes) -> bool:
        """Write a whole small file unless its name is taken; returns whether this call wrote it."""

    def temporary(self, label: str) -> AbstractContextManager[Temporary]:
        """Open a new file without a name, readable and writable; unless published, it is gone when the block ends."""

    def temporary_folder(self, label: str) -> AbstractContextManager[TemporaryFolder]:
        """Make a new folder without a name; unless published, it is gone with its files when the block ends."""

    def publish(self, temporary: AnyTemporary, name: str) -> bool:
        """Give a temporary file or folder its final name unless that is taken; returns whether this call did.

        Raises:
            FileNotFoundError: if it was removed meanwhile: the attempt counts as dead.
        """

    def replace(self, temporary: AnyTemporary, name: str) -> None:
        """Give a temporary file, or each file of a folder, its name, replacing what had that name.

        For what sums up a job and may have to be summed up again, and for shards and markers that are damaged, once
        what replaces them is known to be right. Other files in a folder stay.
        """

    def open(self, name: str) -> AbstractContextManager[BinaryIO]:
        """Open a file for reading.

        Raises:
            FileNotFoundError: if there is none.
        """

    def read(self, name: str) -> bytes | None:
        """Return a whole small file, or None if there is none."""

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, or None if there is none."""

    def modified_ms(self, name: str) -> int:
        """Return when a file was written, in milliseconds since 1970 by the store's clock; 0 if there is none."""

    def names(self, folder: str = "") -> list[str]:
        """Return the sorted names in the job's folder, or in one below it; none if it does not exist."""

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the names in a folder below the job's with sizes in bytes; none if it does not exist."""

    def remove_temporaries(self, label: str = "") -> None:
        """Remove what dead attempts left: the temporary files and folders whose names begin with `label`."""

    def remove(self, name: str) -> None:
        """Remove a file of the job's folder, if it is there."""

    def remove_folder(self) -> None:
        """Remove the job's folder and all in it, also while a late worker writes there."""


def lost(uri: str) -> str:
    """Return the ledger's text about a job whose folder, or its plan, is gone."""
    return f"OUTPUT_LOST: {uri} is gone, or its plan.json is; `mintage jobs repair` makes it again"


def file_digest(file: BinaryIO) -> str:
    """Return the SHA-256 of an open file from its beginning, in hexadecimal."""
    file.seek(0)
    return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
