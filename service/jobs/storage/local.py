"""Jobs in a folder of this machine: nothing is written outside it, no shard that is there is ever overwritten.

Every path is walked from the output folder segment by segment without following symbolic links. A file appears under
its name whole or not at all: it is written to `.tmp/` on the same file system, fsynced, then linked (which, unlike a
rename, fails if the name is taken), and the folder is fsynced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from service.jobs.faults import crash_point
from service.jobs.plan import PLAN_FILE
from service.jobs.storage.output import TEMPORARY, AnyTemporary, OutputError, Temporary, TemporaryFolder

BLOCK = 1 << 20
REMOVE_TRIES = 10
SYNCS_AT_ONCE = 16
_DEAD = "dead."
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_NOT_PLAIN = (errno.ELOOP, errno.ENXIO)
_TAKEN = (errno.EEXIST, errno.ENOTEMPTY)
_CREATE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class LocalStore:
    """The folder `root`, with a folder for each job below it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def output(self, prefix: str, *, existing: bool = False) -> LocalOutput:
        """Name a job's folder."""
        return LocalOutput(self.root, prefix, existing=existing)

    def plan_prefixes(self) -> Iterator[str]:
        """Return the prefixes that hold a plan; follows no symbolic link, looks at nothing below a job."""
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


class LocalOutput:
    """The folder of one job, `{root}/{prefix}`."""

    def __init__(self, root: Path, prefix: str, *, existing: bool = False) -> None:
        self.root = root
        self.prefix = prefix
        self._existing = existing
        self._plan: bytes | None = None

    def put(self, name: str, data: bytes) -> bool:
        """Write a whole small file unless its name is taken; tell whether this call wrote it.

        Raises:
            OSError: as the file system has it; ENOSPC when the disk is full. No temporary file stays.
            OutputError: if a symbolic link or a file lies where a folder must be.
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
                with contextlib.closing(TemporaryFolder(name, os.open(name, _FOLDER, dir_fd=folder))) as temporary:
                    yield temporary
            finally:
                _discard(folder, name)

    def publish(self, temporary: AnyTemporary, name: str) -> bool:
        """Give a temporary file or folder its name for good, unless the name is taken; tell whether this call did."""
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
        """Rename a folder once all that is in it is on the disk; a rename replaces no folder that holds anything."""

        def sync(file: str) -> None:
            descriptor = os.open(file, _READ, dir_fd=temporary.descriptor)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

        with ThreadPoolExecutor(SYNCS_AT_ONCE) as pool:  # a disk takes many at once in hardly more time than one
            list(pool.map(sync, os.listdir(temporary.descriptor)))  # noqa: PTH208 - pathlib knows no descriptors
        os.fsync(temporary.descriptor)
        crash_point("after_fsync")
        *folders, last = name.split("/")
        with self._folder(TEMPORARY, create=True) as source, self._folder(*folders, create=True) as target:
            try:
                with _confined(name):
                    os.rename(temporary.name, last, src_dir_fd=source, dst_dir_fd=target)
            except OSError as error:
                if error.errno in _TAKEN:
                    return False
                raise
            os.fsync(target)
        return True

    def replace(self, temporary: Temporary, name: str) -> None:
        """Give a temporary file its name in the job's folder; what had that name is gone.

        Only for what sums up a job and may have to be summed up again; shards and their markers are never replaced.
        """
        temporary.file.flush()
        os.fsync(temporary.file.fileno())
        with self._folder(TEMPORARY) as source, self._folder() as target:
            os.rename(temporary.name, name, src_dir_fd=source, dst_dir_fd=target)
            os.fsync(target)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open a file for reading.

        Raises:
            FileNotFoundError: if there is none.
            OutputError: if it is anything but a plain file.
        """
        *folders, last = name.split("/")
        with self._folder(*folders) as folder, _confined(name):
            descriptor = os.open(last, _READ, dir_fd=folder)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OutputError(f"{self.prefix}/{name} is no plain file")
        with os.fdopen(descriptor, "rb", buffering=BLOCK) as file:
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
        """Return what lies in a folder below the job's, with sizes in bytes; nothing if it does not exist."""
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
                    _discard(folder, name)
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
        above, _, last = self.prefix.rpartition("/")
        for tries_left in reversed(range(REMOVE_TRIES)):
            try:
                with LocalOutput(self.root, above or ".", existing=True)._folder() as folder:
                    shutil.rmtree(last, dir_fd=folder)
                    os.fsync(folder)
            except FileNotFoundError:  # of the folder: done; of a file that somebody else removed: look again
                if not self.names():
                    return
            except OSError as error:
                if error.errno != errno.ENOTEMPTY or not tries_left:
                    raise
            else:
                return

    @contextlib.contextmanager
    def _folder(self, *below: str, create: bool = False) -> Iterator[int]:
        """Open `{root}/{prefix}/{below}` segment by segment, following no symbolic link below the root."""
        create_job = create and not self._existing
        if create_job:
            self.root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for segment in self.prefix.split("/"):
                descriptor = _into(descriptor, segment, create=create_job)
            if self._existing:
                self._check_job(descriptor, writing=create)
            for segment in below:
                descriptor = _into(descriptor, segment, create=create)
            yield descriptor
        finally:
            os.close(descriptor)

    def _check_job(self, folder: int, *, writing: bool) -> None:
        """Refuse to write if the folder is by now another job's: its plan is not the one that was there at first."""
        plan = _read_plan(folder)
        if self._plan is None:
            self._plan = plan
        if writing and plan != self._plan:
            raise FileNotFoundError(errno.ENOENT, "the job was deleted", PLAN_FILE)


def _read_plan(folder: int) -> bytes:
    try:
        with os.fdopen(os.open(PLAN_FILE, _READ, dir_fd=folder), "rb") as file:
            return file.read()
    except OSError:
        return b""


def _discard(folder: int, name: str) -> None:
    """Remove a temporary file, or a folder with all in it, if it is still there.

    A folder gets another name first, in one step: an attempt that is not quite dead publishes it whole or not at all.
    """
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        dead = f"{_DEAD}{secrets.token_hex(8)}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(name, dead, src_dir_fd=folder, dst_dir_fd=folder)
            _remove_tree(dead, folder)


def _remove_tree(name: str, folder: int) -> None:
    """Remove a folder with all in it, also while a thread of an attempt that was given up adds a file."""
    for tries_left in reversed(range(REMOVE_TRIES)):
        try:
            return shutil.rmtree(name, dir_fd=folder)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not tries_left:
                raise


def _into(parent: int, segment: str, *, create: bool) -> int:
    """Step from one folder into another, closing the first."""
    descriptor = _step(parent, segment, create=create)
    os.close(parent)
    return descriptor


def _step(parent: int, segment: str, *, create: bool) -> int:
    """Open one folder in another, making it first if need be."""
    with _confined(segment):
        try:
            return os.open(segment, _FOLDER, dir_fd=parent)
        except FileNotFoundError:
            if not create:
                raise
        with contextlib.suppress(FileExistsError):
            os.mkdir(segment, 0o755, dir_fd=parent)
            os.fsync(parent)
        return os.open(segment, _FOLDER, dir_fd=parent)


@contextlib.contextmanager
def _confined(name: str) -> Iterator[None]:
    """Turn the errors of a symbolic link, or a file in a folder's place, into OutputError."""
    try:
        yield
    except (NotADirectoryError, IsADirectoryError) as error:
        raise OutputError(f"{name} in the output folder is no plain file or folder; remove it") from error
    except OSError as error:
        if error.errno in _NOT_PLAIN:
            raise OutputError(f"{name} in the output folder is a symbolic link; remove it") from error
        raise
