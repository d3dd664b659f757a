"""A folder below the input folder: listed and opened without following any symbolic link, never written."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from service.jobs.storage.output import OutputError
from service.jobs.storage.tree import Tree


class SourceError(OutputError):
    """Raised when the images to score are not what the plan says: a file is missing, changed or unreadable."""

    reason = "SOURCE_DAMAGED"


@dataclass(frozen=True, slots=True, order=True)
class InputFile:
    """A plain file: its path below the folder, size in bytes, and time of its last change in nanoseconds since 1970."""

    name: str
    size: int
    changed_ns: int


class InputFolder:
    """The folder `{root}/{folder}`, where `folder` has been validated: no empty, '.' or '..' segment."""

    def __init__(self, root: Path, folder: str) -> None:
        self.folder = folder
        self._tree = Tree(root, "the input folder", SourceError)

    def files(self, wanted: Callable[[str], bool], *, on_file: Callable[[], None] = lambda: None) -> list[InputFile]:
        """List the plain files whose names are wanted, also in subfolders, in order of their paths.

        Names that begin with a dot, and symbolic links, are skipped.

        Args:
            wanted: whether a file of this name is listed.
            on_file: called for each file; may raise to stop.

        Raises:
            FileNotFoundError: if there is no such folder.
            SourceError: if it is not a folder, or a symbolic link is on its path.
        """
        found = []
        with self._tree.folder(*self.folder.split("/")) as top:
            for above, folders, files, descriptor in os.fwalk(".", dir_fd=top, follow_symlinks=False):
                folders[:] = [name for name in folders if not name.startswith(".")]
                prefix = above.removeprefix(".").removeprefix("/")
                for name in files:
                    on_file()
                    if name.startswith(".") or not wanted(name):
                        continue
                    status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        path = f"{prefix}/{name}" if prefix else name
                        found.append(InputFile(path, status.st_size, status.st_mtime_ns))
        return sorted(found)

    @contextlib.contextmanager
    def open(self, file: InputFile) -> Iterator[BinaryIO]:
        """Open a file that was listed.

        Raises:
            SourceError: if it is gone, or is not what was listed.
        """
        *folders, last = f"{self.folder}/{file.name}".split("/")
        with contextlib.ExitStack() as stack:
            try:
                folder = stack.enter_context(self._tree.folder(*folders))
                opened = stack.enter_context(self._tree.file(folder, last))
            except FileNotFoundError:
                raise SourceError(f"{self._shown(file)} is gone since the job was accepted") from None
            except SourceError as error:
                raise SourceError(f"{self._shown(file)} cannot be opened: {error}") from error
            except OSError as error:
                raise SourceError(f"{self._shown(file)} cannot be opened: {error.strerror}") from error
            status = os.fstat(opened.fileno())
            if (status.st_size, status.st_mtime_ns) != (file.size, file.changed_ns):
                raise SourceError(f"{self._shown(file)} was changed since the job was accepted")
            yield opened

    def _shown(self, file: InputFile) -> str:
        return ascii(f"{self.folder}/{file.name}")[1:-1]
