"""The folder of one job on this machine: nothing is written outside it, nothing is overwritten but what is damaged.

A file appears under its name whole or not at all: it is written to `.tmp/` on the same file system, fsynced and linked,
which, unlike a rename, fails if the name is taken; then the folder is fsynced. `tree` says why no path leads out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from service.jobs.faults import crash_point
from service.jobs.plan import PLAN_FILE, is_damaged
from service.jobs.storage.output import TEMPORARY, AnyTemporary, OutputError, Temporary, TemporaryFolder
from service.jobs.storage.removal import REMOVE_TRIES, discard, remove_tree
from service.jobs.storage.tree import BLOCK, FOLDER, READ, Tree

SYNCS_AT_ONCE = 16  # a disk takes many at once in hardly more time than one
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalOutput:
    """The folder of one job, `{root}/{prefix}`."""

    files_at_once = 1  # a thread costs more than it to read a small one

    def __init__(self, root: Path, prefix: str, *, existing: bool = False) -> None:
        self.root = root
        self.prefix = prefix
        self._existing = existing
        self._plan_known = False
        self._plan: bytes | None = None
        self._tree = Tree(root, "the output folder", OutputError)

    def put(self, name: str, data: bytes) -> bool:
        """Write a whole small file unless its name is taken; returns whether this call wrote it.

        Raises:
            OSError: as the file system raises it; ENOSPC when the disk is full. No temporary file stays.
            OutputError: if a symbolic link or a file is in the place of a folder.
        """
        with self.temporary(name.rsplit("/", 1)[-1]) as temporary:
            temporary.file.write(data)
            return self.publish(temporary, name)

    @contextlib.contextmanager
    def temporary(self, label: str) -> Iterator[Temporary]:
        """Open a new file in `.tmp/`, readable and writable; it is gone from there when the block ends."""
        name = f"{label}.{secrets.token_hex(4)}"
        with self._folder(TEMPORARY, create=True) as folder:
            file = os.fdopen(os.open(name, _CREATE, 0o644, dir_fd=folder), "w+b", buffering=BLOCK)
            try:
                yield Temporary(name, file)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=folder)
                with contextlib.suppress(OSError):  # what could not be flushed to a full disk
                    file.close()

    @contextlib.contextmanager
    def temporary_folder(self, label: str) -> Iterator[TemporaryFolder]:
        """Make a new folder in `.tmp/`; it is gone from there when the block ends."""
        name = f"{label}.{secrets.token_hex(4)}"
        with self._folder(TEMPORARY, create=True) as folder:
            os.mkdir(name, 0o755, dir_fd=folder)
            try:
                with contextlib.closing(TemporaryFolder(name, os.open(name, FOLDER, dir_fd=folder))) as temporary:
                    yield temporary
            finally:
                discard(folder, name)

    def publish(self, temporary: AnyTemporary, name: str) -> bool:
        """Give a temporary file or folder its final name unless that is taken; returns whether this call did."""
        if isinstance(temporary, TemporaryFolder):
            return self._publish_folder(temporary, name)
        temporary.file.flush()
        os.fsync(temporary.file.fileno())
        crash_point("after_fsync")
        *folders, last = name.split("/")
        with self._folder(TEMPORARY, create=True) as source, self._folder(*folders, create=True) as target:
            try:
                os.link(temporary.name, last, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
            except FileExistsError:
                return False
            os.fsync(target)
        return True

    def _publish_folder(self, temporary: TemporaryFolder, name: str) -> bool:
        """Rename a folder once everything in it is on the disk; a rename never replaces a folder that is not empty."""
        _sync_files(temporary)
        crash_point("after_fsync")
        *folders, last = name.split("/")
        with self._folder(TEMPORARY, create=True) as source, self._folder(*folders, create=True) as target:
            try:
                with self._tree.confined(last):
                    os.rename(temporary.name, last, src_dir_fd=source, dst_dir_fd=target)
            except OSError as error:
                if error.errno in _TAKEN:
                    return False
                raise
            os.fsync(target)
        return True

    def replace(self, temporary: AnyTemporary, name: str) -> None:
        """Give a temporary file, or each file of a folder, its name, replacing what had that name."""
        if isinstance(temporary, TemporaryFolder):
            return self._replace_folder(temporary, name)
        temporary.file.flush()
        os.fsync(temporary.file.fileno())
        *folders, last = name.split("/")
        with self._folder(TEMPORARY, create=True) as source, self._folder(*folders, create=True) as target:
            os.rename(temporary.name, last, src_dir_fd=source, dst_dir_fd=target)
            os.fsync(target)

    def _replace_folder(self, temporary: TemporaryFolder, name: str) -> None:
        _sync_files(temporary)
        with self._folder(*name.split("/"), create=True) as target:
            for file in sorted(os.listdir(temporary.descriptor)):  # noqa: PTH208 - pathlib knows no descriptors
                os.rename(file, file, src_dir_fd=temporary.descriptor, dst_dir_fd=target)
            os.fsync(target)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for reading.

        Raises:
            FileNotFoundError: if there is none.
            OutputError: if it is anything but a plain file.
        """
        *folders, last = name.split("/")
        with self._folder(*folders) as folder, self._tree.file(folder, last) as file:
            yield file

    def read(self, name: str) -> bytes | None:
        """Return a whole small file, or None if there is none."""
        try:
            with self.open(name) as file:
                return file.read()
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int | None:
        """Return a file's size in bytes, or None if there is none."""
        try:
            with self.open(name) as file:
                return os.fstat(file.fileno()).st_size
        except FileNotFoundError:
            return None

    def modified_ms(self, name: str) -> int:
        """Return when a file was written, in milliseconds since 1970; 0 if there is none."""
        try:
            with self.open(name) as file:
                return os.fstat(file.fileno()).st_mtime_ns // 1_000_000
        except FileNotFoundError:
            return 0

    def names(self, folder: str = "") -> list[str]:
        """Return the sorted names in the job's folder, or in one below it; none if it does not exist."""
        try:
            with self._folder(*folder.split("/") if folder else ()) as descriptor:
                return sorted(os.listdir(descriptor))  # noqa: PTH208 - pathlib knows no descriptors
        except FileNotFoundError:
            return []

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the names in a folder below the job's with sizes in bytes; none if it does not exist."""
        try:
            with self._folder(*folder.split("/")) as descriptor, os.scandir(descriptor) as entries:
                return {entry.name: entry.stat(follow_symlinks=False).st_size for entry in entries}
        except FileNotFoundError:
            return {}

    def remove_temporaries(self, label: str = "") -> None:
        """Remove what dead attempts left in `.tmp/`: the files and folders whose names begin with `label`."""
        for name in self.names(TEMPORARY):
            if name.startswith(label):
                with contextlib.suppress(FileNotFoundError), self._folder(TEMPORARY) as folder:
                    discard(folder, name)
        if not label:
            with contextlib.suppress(OSError), self._folder() as folder:
                os.rmdir(TEMPORARY, dir_fd=folder)

    def remove(self, name: str) -> None:
        """Remove a file of the job's folder, if it is there."""
        with contextlib.suppress(FileNotFoundError), self._folder() as folder:
            os.unlink(name, dir_fd=folder)

    def remove_folder(self) -> None:
        """Remove the job's folder and all in it, following no symbolic link, also while a late worker writes there.

        Raises:
            OSError: if something cannot be removed.
        """
        *above, last = self.prefix.split("/")
        for tries_left in reversed(range(REMOVE_TRIES)):
            try:
                with self._tree.folder(*above) as folder:
                    remove_tree(last, folder)
                    os.fsync(folder)
                return
            except FileNotFoundError:  # of the folder: done; of a file that another removed first: try again
                if not self.names():
                    return
                if not tries_left:
                    raise

    @contextlib.contextmanager
    def _folder(self, *below: str, create: bool = False) -> Iterator[int]:
        """Open `{root}/{prefix}/{below}`, made if need be: the job's own folder only unless it must exist."""
        create_job = create and not self._existing
        if create_job:
            self.root.mkdir(parents=True, exist_ok=True)
        with self._tree.folder(*self.prefix.split("/"), create=create_job) as job:
            if self._existing:
                self._check_job(job, writing=create)
            with self._tree.below(job, *below, create=create) as folder:
                yield folder

    def _check_job(self, folder: int, *, writing: bool) -> None:
        """Refuse to write if the folder now belongs to another job: its plan is not the first one that was read.

        A plan that was damaged, or mended again, belongs to the same job.
        """
        plan = self._read_plan(folder)
        if not self._plan_known:
            self._plan_known, self._plan = True, plan
        if writing and plan != self._plan:
            if plan is None or self._plan is None or not (is_damaged(plan) or is_damaged(self._plan)):
                raise FileNotFoundError(errno.ENOENT, "the job was deleted", PLAN_FILE)
            self._plan = plan

    def _read_plan(self, folder: int) -> bytes | None:
        """Return what is in the plan, nothing if that cannot be read, None if there is none."""
        try:
            with self._tree.file(folder, PLAN_FILE) as file:
                return file.read()
        except FileNotFoundError:
            return None
        except (OSError, OutputError):
            return b""


def _sync_files(folder: TemporaryFolder) -> None:
    """Bring every file of a folder to the disk."""

    def sync(file: str) -> None:
        descriptor = os.open(file, READ, dir_fd=folder.descriptor)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    with ThreadPoolExecutor(SYNCS_AT_ONCE) as pool:
        list(pool.map(sync, os.listdir(folder.descriptor)))  # noqa: PTH208 - pathlib knows no descriptors
    os.fsync(folder.descriptor)
