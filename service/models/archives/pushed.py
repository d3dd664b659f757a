"""Archives that are pushed: received beside the others, checked, and only then given their name.

An archive holds the code of its handler, which the model server runs, so of a pushed one every file is looked at: it
holds the files that `mintage pack` writes and no other, and the handler is that of this version, byte by byte.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from service.backend.protocol.description import Kind
from service.errors import AlreadyExists, FailedPrecondition, FieldViolation, InvalidArgument
from service.models.archives import checking, keeping
from service.models.durable_files import reserve, sync_folder

LOOKED_AT = 200  # archives of a folder that one search opens at most
KEPT = re.compile(r"[0-9a-f]{64}\.mar")  # copies of loaded archives, see `keeping`
# Of handlers/entry_points/{kind}.py, which this package does not import.
HANDLERS = {
    "generator.py": "57b7fca30d08e837a9118c1cdd977a297032a5b6520b3cf0febbdf4bbdca9c22",
    "classifier.py": "5cad1f793a47e233c21719aaef7447aca1f8a304fd07c5bd88e4c485185ad8eb",
    "neurons.py": "0137b80244a325b8cf5e83efccfee35098c986dd15493382aa55f7e76000be47",
    "discriminator.py": "c4343382b4ab974047f3961a6e172621142dd4882f1dc2eb0cbd5e3f062c6089",
}
MEMBERS = {
    "MAR-INF/MANIFEST.json",
    "serving.json",
    "config.json",
    "weights.safetensors",
    "encoder.safetensors",
    "card.md",
    "concepts.json",
}


@dataclass(frozen=True, slots=True)
class ArchiveFile:
    """An archive in the archive folder.

    Attributes:
        name: File name.
        digest: sha256 in hexadecimal.
        size_bytes: Its size.
        update_time: When it was written, in seconds since 1970.
    """

    name: str
    digest: str
    size_bytes: int
    update_time: float


def names(folder: Path) -> list[str]:
    """The archives of a folder that people named, sorted."""
    return sorted(path.name for path in folder.glob("*.mar") if not KEPT.fullmatch(path.name) and path.is_file())


def of_run(folder: Path, kind: Kind, run_digest: str) -> str | None:
    """The first archive of a folder that holds a kind of model of a run; so many are looked at, and no more."""
    for name in names(folder)[:LOOKED_AT]:
        serving = keeping.serving_of(folder / name) or {}
        if (serving.get("kind"), serving.get("run_digest")) == (kind, run_digest):
            return name
    return None


def described(path: Path) -> ArchiveFile:
    """What is known of an archive; its digest is computed once for as long as the file stays the same.

    Raises:
        FileNotFoundError: if it is gone.
    """
    facts = path.stat()
    digest = _digest(path, facts.st_mtime_ns, facts.st_size, facts.st_ino)
    return ArchiveFile(path.name, digest, facts.st_size, facts.st_mtime)


class Upload:
    """One archive on its way; a context manager that leaves nothing behind unless `finish` succeeds.

    Args:
        folder: the archive folder; made if missing.
        name: file name for it.
        digest: its sha256 in hexadecimal.
        size_bytes: its size; the disk has room for it, or this fails.
        replace: whether another archive of that name may be replaced.
    """

    def __init__(self, folder: Path, name: str, *, digest: str, size_bytes: int, replace: bool) -> None:
        self._target = folder / name
        self._digest, self._size, self._replace = digest, size_bytes, replace
        self._sha256, self._received = hashlib.sha256(), 0
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = tempfile.TemporaryDirectory(dir=folder, prefix=".push-")
        self._path = Path(self._folder.name, name)  # messages about it then say its name
        self._file: IO[bytes] = self._path.open("wb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._file.close()  # may fail on a full disk
        finally:
            self._folder.cleanup()

    def write(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            InvalidArgument: if they are more than were announced.
        """
        if not self._received:
            reserve(self._file.fileno(), self._size)
        self._received += len(data)
        if self._received > self._size:
            raise _wrong(f"has more than the {self._size:,} bytes that were announced")
        self._sha256.update(data)
        self._file.write(data)

    def finish(self) -> ArchiveFile:
        """Check what came, and give it its name.

        Raises:
            InvalidArgument: if the bytes are not those that were announced.
            FailedPrecondition: if it is no archive that can be loaded, or one with other code than ours.
            AlreadyExists: if another archive has that name and may not be replaced.
        """
        if self._received != self._size:
            raise _wrong(f"has {self._received:,} bytes; {self._size:,} were announced")
        if self._sha256.hexdigest() != self._digest:
            raise _wrong(f"has the sha256 {self._sha256.hexdigest()[:12]}..., not that which was announced")
        self._file.flush()
        os.fsync(self._file.fileno())
        checking.check(self._path)
        check_code(self._path)
        self._path.chmod(0o644)
        if self._replace:
            self._path.replace(self._target)
        else:
            self._link()
        sync_folder(self._target.parent)
        return described(self._target)

    def _link(self) -> None:
        """Give the file its name unless another file has it."""
        try:
            os.link(self._path, self._target)
        except FileExistsError:
            if keeping.sha256_of(self._target) != self._digest:
                text = f"the archive folder has another {self._target.name}; choose another name, or replace it"
                raise AlreadyExists(text, reason="ARCHIVE_EXISTS") from None


def check_code(path: Path) -> None:
    """Refuse an archive with other files than ours, or with another handler.

    Raises:
        FailedPrecondition: if it is one.
    """
    with zipfile.ZipFile(path) as archive:
        code = [name for name in archive.namelist() if name not in MEMBERS]
        for name in code:
            if name not in HANDLERS:
                raise _foreign(f"{path.name} holds {name!r}, which `mintage pack` does not write")
            if hashlib.sha256(archive.read(name)).hexdigest() != HANDLERS[name]:
                raise _foreign(f"the handler in {path.name} is not that of this version; pack the run again")


def _foreign(text: str) -> FailedPrecondition:
    return FailedPrecondition(text, reason="ARCHIVE_CODE")


def _wrong(what: str) -> InvalidArgument:
    return InvalidArgument([FieldViolation("data", what)])


@functools.lru_cache(maxsize=4096)
def _digest(path: Path, *unchanged: int) -> str:
    """Digest of a file, as long as its time, size and inode stay the same."""
    return keeping.sha256_of(path)
