"""A folder below the input folder: listed and opened without following any symbolic link, never written."""

from __future__ import annotations

import contextlib
import functools
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from service.jobs.plan import PassedOver
from service.jobs.storage.output import OutputError
from service.jobs.storage.tree import Tree

MAX_DEPTH = 64  # folders in folders: each level holds a descriptor while a tree is listed
SHOWN = 3  # names that are kept per reason
HIDDEN = "hidden files and folders"
LINKS = "symbolic links"
SPECIAL = "pipes, sockets and devices"
OTHERS = "files that are no images"
Wanted = Callable[[str, Callable[[], AbstractContextManager[BinaryIO]]], bool]  # by a file's name and what opens it


class SourceError(OutputError):
    """Raised when the images to score are not what the plan says: a file is missing, changed or unreadable."""

    reason = "SOURCE_DAMAGED"


@dataclass(frozen=True, slots=True, order=True)
class InputFile:
    """A plain file: its path below the folder, size in bytes, and time of its last change in nanoseconds since 1970."""

    name: str
    size: int
    changed_ns: int


class Unread:
    """What of a folder is not read: counts by reason, in the order in which the reasons came up."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._first: dict[str, list[str]] = {}

    def add(self, reason: str, name: str) -> None:
        """Note something by its name; the names of the first are kept, printable."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        first = self._first.setdefault(reason, [])
        if len(first) < SHOWN:
            first.append(name if name.isprintable() else ascii(name)[1:-1])

    def passed_over(self) -> tuple[PassedOver, ...]:
        """Return what was noted."""
        return tuple(
            PassedOver(reason=reason, count=count, first=tuple(self._first[reason]))
            for reason, count in self._counts.items()
        )


class InputFolder:
    """The folder `{root}/{folder}`, where `folder` has been validated: no empty, '.' or '..' segment."""

    def __init__(self, root: Path, folder: str) -> None:
        self.folder = folder
        self._tree = Tree(root, "the input folder", SourceError)

    def files(self, wanted: Wanted, unread: Unread, *, on_file: Callable[[], None] = lambda: None) -> list[InputFile]:
        """List the plain files that are wanted, also in subfolders, in order of their paths.

        Names that begin with a dot, symbolic links, and what is no plain file are passed over.

        Args:
            wanted: whether a file is listed, by its name and what opens it.
            unread: is told of everything that is passed over.
            on_file: called for each file; may raise to stop.

        Raises:
            FileNotFoundError: if there is no such folder.
            SourceError: if it is not a folder, a symbolic link is on its path, or folders in it are nested too deep.
        """
        found = []
        with self._tree.folder(*self.folder.split("/")) as top:
            for above, folders, files, descriptor in os.fwalk(".", dir_fd=top, follow_symlinks=False):
                prefix = above.removeprefix(".").removeprefix("/")
                prefix = f"{prefix}/" if prefix else ""
                if prefix.count("/") > MAX_DEPTH:
                    raise SourceError(f"{self.folder} holds folders in folders, more than {MAX_DEPTH} deep: flatten it")
                folders.sort()
                for name in [name for name in folders if name.startswith(".")]:
                    folders.remove(name)
                    unread.add(HIDDEN, f"{prefix}{name}/")
                for name in folders:
                    if stat.S_ISLNK(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
                        unread.add(LINKS, f"{prefix}{name}")
                for name in sorted(files):
                    on_file()
                    if name.startswith("."):
                        unread.add(HIDDEN, prefix + name)
                        continue
                    status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
                    if stat.S_ISLNK(status.st_mode):
                        unread.add(LINKS, prefix + name)
                    elif not stat.S_ISREG(status.st_mode):
                        unread.add(SPECIAL, prefix + name)
                    elif not wanted(name, functools.partial(self._tree.file, descriptor, name)):
                        unread.add(OTHERS, prefix + name)
                    else:
                        found.append(InputFile(prefix + name, status.st_size, status.st_mtime_ns))
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
