"""The folder of one job in a bucket: objects appear whole or not at all, and existing ones are not overwritten."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO

import obstore
from obstore.exceptions import AlreadyExistsError
from obstore.store import S3Store

from service.jobs.faults import crash_point
from service.jobs.plan import PLAN_FILE, is_damaged
from service.jobs.storage.bucket import Bucket, reader
from service.jobs.storage.bucket_errors import conflict, explained, is_conflict, kept_in_part
from service.jobs.storage.output import AnyTemporary, Temporary, TemporaryFolder
from service.jobs.storage.sending import content, mapped, size_of
from service.jobs.storage.spool import Spool

if TYPE_CHECKING:
    from typing_extensions import Buffer

SMALL_PUT = 1 << 20  # up to this size the short time limit of a call is enough
READ_BYTES = 8 << 20  # fetched at a time
PART_BYTES, MAX_PARTS = 8 << 20, 9000  # of a multipart upload; S3 takes at most 10,000 parts
FILES_AT_ONCE, FILES_PER_CHECK = 64, 1024  # put or read in parallel; put between two checks that the job still exists
KEYS_AT_ONCE = 1000  # the most that S3 deletes in one request
REMOVE_TRIES = 10  # a late writer puts a few objects at most after its job was deleted
CONFLICT_PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6)  # three seconds in all for another put of the same object to end


class ObjectOutput:
    """The keys `{base}/{prefix}/...`."""

    files_at_once = FILES_AT_ONCE

    def __init__(self, bucket: Bucket, spool: Spool, prefix: str, *, existing: bool = False) -> None:
        self.prefix = prefix
        self._bucket, self._spool, self._existing = bucket, spool, existing
        self._plan_tag: str | None = None
        self._plan_damaged = False

    def put(self, name: str, data: bytes) -> bool:
        """Write a whole small object unless its name is taken; returns whether this call wrote it."""
        self._check_job()
        written = self._create(name, data)
        self._check_still([name] if written else [])
        return written

    @contextlib.contextmanager
    def temporary(self, label: str) -> Iterator[Temporary]:
        """Open a new file on this machine; it is gone when the block ends."""
        self._check_job()
        with self._spool.temporary(label) as temporary:
            yield temporary

    @contextlib.contextmanager
    def temporary_folder(self, label: str) -> Iterator[TemporaryFolder]:
        """Make a new folder on this machine; it is gone with its files when the block ends."""
        self._check_job()
        with self._spool.temporary_folder(label) as temporary:
            yield temporary

    def publish(self, temporary: AnyTemporary, name: str) -> bool:
        """Put a temporary file, or each file of a folder, unless it exists; returns whether this call put all of it.

        A folder does not appear at once: the marker, put after its last file, says that it is whole.
        """
        crash_point("after_fsync")
        self._check_job()
        if isinstance(temporary, TemporaryFolder):
            return self._publish_folder(temporary, name)
        with mapped(temporary.file, name) as data:
            written = self._create(name, data)
        self._check_still([name] if written else [])
        return written

    def replace(self, temporary: AnyTemporary, name: str) -> None:
        """Put a temporary file, or each file of a folder, under a name; what had that name is gone."""
        self._check_job()
        if isinstance(temporary, TemporaryFolder):
            files = sorted(os.listdir(temporary.descriptor))  # noqa: PTH208 - pathlib knows no descriptors
            self._put_files(temporary, name, files)
            self._check_still([f"{name}/{file}" for file in files])
            return
        temporary.file.flush()
        size = temporary.file.seek(0, io.SEEK_END)

        def put() -> None:
            temporary.file.seek(0)
            with self._explained(name):
                obstore.put(
                    self._bucket.uploads,
                    self._key(name),
                    temporary.file,
                    chunk_size=max(PART_BYTES, -(-size // MAX_PARTS)),
                    max_concurrency=2,
                )

        put()
        self._complete(name, size, put)
        self._check_still([name])

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[BinaryIO]:
        """Open an object for reading, a few MiB at a time."""
        if self._plan_tag is None:  # what is written because of what was read here must be of the same job
            with contextlib.suppress(FileNotFoundError):
                self._check_job()
        with self._explained(name):
            file = obstore.open_reader(self._bucket.calls, self._key(name), buffer_size=READ_BYTES)
        with reader(file, self._bucket.name, name) as opened:
            yield opened

    def read(self, name: str) -> bytes | None:
        """Return a whole small object, or None if there is none."""
        try:
            with self._explained(name):
                return bytes(obstore.get(self._bucket.calls, self._key(name)).bytes())
        except FileNotFoundError:
            return None

    def size(self, name: str) -> int | None:
        """Return an object's size in bytes, or None if there is none."""
        found = self._head(name)
        return found["size"] if found else None

    def modified_ms(self, name: str) -> int:
        """Return when an object was put, in milliseconds since 1970 by the store's clock; 0 if there is none."""
        found = self._head(name)
        return round(found["last_modified"].timestamp() * 1000) if found else 0

    def names(self, folder: str = "") -> list[str]:
        """Return the sorted names in the job's folder, or in one below it; none if it does not exist."""
        return sorted(self.sizes(folder))

    def sizes(self, folder: str) -> dict[str, int]:
        """Return the names in a folder with sizes in bytes, 0 for folders."""
        with self._explained(folder):
            found = obstore.list_with_delimiter(self._bucket.calls, self._key(folder))
        sizes = dict.fromkeys(found["common_prefixes"], 0) | {
            entry["path"]: entry["size"] for entry in found["objects"]
        }
        return {path.rpartition("/")[2]: size for path, size in sizes.items()}

    def remove_temporaries(self, label: str = "") -> None:
        """Do nothing: what dead attempts left is on their own machines, where the next process removes it."""

    def remove(self, name: str) -> None:
        """Remove an object of the job's folder, if it is there."""
        self._delete([self._key(name)])

    def remove_folder(self) -> None:
        """Remove every object below the prefix, also while a late worker puts some."""
        for _ in range(REMOVE_TRIES):
            found = False
            with self._explained(""):
                for page in obstore.list(self._bucket.calls, self._key(""), chunk_size=KEYS_AT_ONCE):
                    found = True
                    obstore.delete(self._bucket.calls, [entry["path"] for entry in page])
            if not found:
                return
        raise OSError(errno.ENOTEMPTY, f"{self.prefix} is being written to")

    def _head(self, name: str) -> obstore.ObjectMeta | None:
        try:
            with self._explained(name):
                return obstore.head(self._bucket.calls, self._key(name))
        except FileNotFoundError:
            return None

    def _publish_folder(self, folder: TemporaryFolder, name: str) -> bool:
        def put(file: str) -> bool:
            return self._put_new(f"{name}/{file}", content(folder, file))

        files = sorted(os.listdir(folder.descriptor))  # noqa: PTH208 - pathlib knows no descriptors
        written = 0
        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            for first in range(0, len(files), FILES_PER_CHECK):
                part, done = files[first : first + FILES_PER_CHECK], []
                for file, new in zip(part, pool.map(put, part), strict=True):
                    done += [f"{name}/{file}"] if new else []
                    crash_point("mid_publish")
                self._check_still(done)
                written += len(done)
        if written == len(files):
            kept = self.sizes(name)
            self._put_files(folder, name, [file for file in files if kept.get(file) != size_of(folder, file)])
        return written == len(files)

    def _put_files(self, folder: TemporaryFolder, name: str, files: list[str]) -> None:
        """Put files of a folder, replacing what has their names; then all of them must have their sizes."""

        def put(file: str) -> None:
            data = content(folder, file)
            self._overwrite(f"{name}/{file}", data)
            self._complete(f"{name}/{file}", len(data), lambda: self._overwrite(f"{name}/{file}", data))

        with ThreadPoolExecutor(FILES_AT_ONCE) as pool:
            list(pool.map(put, files))

    def _create(self, name: str, data: Buffer) -> bool:
        """Put an object unless it exists, and see to it that the store keeps all of it."""
        written = self._put_new(name, data)
        if written:
            self._complete(name, memoryview(data).nbytes, lambda: self._overwrite(name, data))
        return written

    def _complete(self, name: str, size: int, put: Callable[[], None]) -> None:
        """Put an object again that the store answered for, but kept less of.

        Raises:
            Unavailable: if the store does so again and again.
        """
        for pause_s in CONFLICT_PAUSES_S:
            if self.size(name) == size:
                return
            time.sleep(pause_s)
            put()
        if self.size(name) != size:
            raise kept_in_part(self._bucket.name)

    def _overwrite(self, name: str, data: Buffer) -> None:
        with self._explained(name):
            obstore.put(self._store_for(data), self._key(name), data, use_multipart=False)

    def _store_for(self, data: Buffer) -> S3Store:
        return self._bucket.calls if memoryview(data).nbytes <= SMALL_PUT else self._bucket.uploads

    def _put_new(self, name: str, data: Buffer) -> bool:
        """Put an object unless it exists. If an answer is lost and the call repeated, it does."""
        store = self._store_for(data)
        for pause_s in CONFLICT_PAUSES_S:
            with self._explained(name):
                try:
                    obstore.put(store, self._key(name), data, mode="create", use_multipart=False)
                except AlreadyExistsError as error:
                    if not is_conflict(error):
                        return False
                else:
                    return True
            time.sleep(pause_s)
        raise conflict(self._bucket.name)

    def _check_job(self) -> None:
        """Refuse to write if the job must exist, but its plan is gone or now another job's; a damaged one is not."""
        if self._existing:
            with self._explained(PLAN_FILE):
                tag = obstore.head(self._bucket.calls, self._key(PLAN_FILE))["e_tag"]
            if self._plan_tag not in (None, tag):
                plan, was_damaged = self.read(PLAN_FILE), self._plan_damaged
                self._plan_damaged = plan is not None and is_damaged(plan)
                if plan is None or not (self._plan_damaged or was_damaged):
                    raise FileNotFoundError(errno.ENOENT, "the job was deleted", PLAN_FILE)
            self._plan_tag = tag

    def _check_still(self, written: list[str]) -> None:
        """Delete what was just written if the job was deleted meanwhile, so that no deleted job comes back."""
        try:
            self._check_job()
        except FileNotFoundError:
            self._delete([self._key(name) for name in written])
            raise

    def _delete(self, keys: list[str]) -> None:
        with contextlib.suppress(FileNotFoundError), self._explained(""):
            for first in range(0, len(keys), KEYS_AT_ONCE):
                obstore.delete(self._bucket.calls, keys[first : first + KEYS_AT_ONCE])

    def _key(self, name: str) -> str:
        return self._bucket.key(f"{self.prefix}/{name}")

    def _explained(self, name: str) -> AbstractContextManager[None]:
        return explained(self._bucket.name, f"{self.prefix}/{name}".rstrip("/"))
