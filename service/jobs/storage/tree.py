"""Folders and files below a root, reached in such a way that no path leads out of it.

A path is walked from the root name by name: each folder is opened in the one above it, by that one's descriptor and
without following a symbolic link (`openat` with O_NOFOLLOW). So nothing depends on a path that could change between
the check and the use: a folder that is swapped for a link is either the folder that was opened, or an error. The root
itself is trusted, and may be a link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

BLOCK = 1 << 20  # bytes of a file's buffer: images and tars are read from one end to the other
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC  # NONBLOCK: opening a pipe must not wait for a writer
_ROOT = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
FOLDER = _ROOT | os.O_NOFOLLOW
_NOT_PLAIN = (errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.EISDIR)  # ENXIO: a socket


class Tree:
    """What lies below `root`.

    Args:
        root: Where every walk begins.
        label: What errors call the root, such as `the output folder`.
        error: What is raised where a symbolic link, or anything but a plain file or folder, lies on a path.
    """

    def __init__(self, root: Path, label: str, error: type[Exception]) -> None:
        self.root = root
        self._label = label
        self._error = error

    @contextlib.contextmanager
    def folder(self, *path: str, create: bool = False) -> Iterator[int]:
        """Open the folder `{root}/{path}`, making it first if need be; yields its descriptor.

        Raises:
            FileNotFoundError: if it does not exist and is not to be made.
            error: as given to the class.
        """
        root = os.open(self.root, _ROOT)
        try:
            with self.below(root, *path, create=create) as folder:
                yield folder
        finally:
            os.close(root)

    @contextlib.contextmanager
    def below(self, folder: int, *path: str, create: bool = False) -> Iterator[int]:
        """Open a folder below an open one, as `folder` does below the root."""
        descriptor = os.dup(folder)
        try:
            for name in path:
                inner = self._enter(descriptor, name, create=create)
                os.close(descriptor)
                descriptor = inner
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def file(self, folder: int, name: str) -> Iterator[BinaryIO]:
        """Open a plain file of an open folder for reading.

        Raises:
            FileNotFoundError: if there is none.
            error: as given to the class.
        """
        with self.confined(name):
            descriptor = os.open(name, READ, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise self._refusal(name)
        with os.fdopen(descriptor, "rb", buffering=BLOCK) as file:
            yield file

    @contextlib.contextmanager
    def confined(self, name: str) -> Iterator[None]:
        """Use a name of an open folder; refuses a name that leaves the folder, and what the system does not follow."""
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise self._error(f"{name!a} is not the name of a file or folder in {self._label}")
        try:
            yield
        except OSError as error:
            if error.errno in _NOT_PLAIN:
                raise self._refusal(name) from error
            raise

    def _enter(self, parent: int, name: str, *, create: bool) -> int:
        """Open one folder in another, making it first if need be."""
        with self.confined(name):
            try:
                return os.open(name, FOLDER, dir_fd=parent)
            except FileNotFoundError:
                if not create:
                    raise
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=parent)
                os.fsync(parent)
            return os.open(name, FOLDER, dir_fd=parent)

    def _refusal(self, name: str) -> Exception:
        shown = ascii(name)[1:-1]
        return self._error(f"{shown} in {self._label} is a symbolic link, or no plain file or folder; remove it")
