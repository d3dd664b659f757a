"""Kept archives: a copy of each loaded archive under its own digest, in the archive folder.

Packing a run again overwrites `digits.mar`; the loaded model stays what it was, and is the same after a restart.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from service.errors import FailedPrecondition, NotFound
from service.models.durable_files import reserve

CHUNK_BYTES = 2**20  # of a copy at a time: archives are far larger than memory should hold
ARCHIVE_FORMAT = 4  # what the handlers of this version read
NUMERICS = 2  # the arithmetic of this version's handlers, which decides the last bits of their answers
MAX_SERVING_BYTES = 2**16  # of `serving.json`, which holds a few short values


def kept(folder: Path, digest: str) -> Path:
    """Path of the copy of one digest, whether it exists or not."""
    return folder / f"{digest}.mar"


def keep(archive: Path) -> str:
    """Copy an archive, whole or not at all, to the name of its digest beside it, replacing what had that name.

    Returns: the sha256 of the copied bytes, in hexadecimal.
    """
    digest = hashlib.sha256()
    # Without a buffer: one that could not be written would fail once more when the file is closed, and keep its name.
    with (
        archive.open("rb") as source,
        tempfile.NamedTemporaryFile(dir=archive.parent, prefix=".keep-", buffering=0) as copy,
    ):
        reserve(copy.fileno(), os.fstat(source.fileno()).st_size)
        while chunk := source.read(CHUNK_BYTES):
            digest.update(chunk)
            rest = memoryview(chunk)
            while rest:
                rest = rest[copy.write(rest) :]
        copy.truncate()
        os.fsync(copy.fileno())
        Path(copy.name).chmod(0o644)
        # Several APIs may do this at once, all with the same bytes: the last one stays, and none finds the name
        # missing.
        named = Path(f"{copy.name}.named")
        os.link(copy.name, named)
        named.replace(kept(archive.parent, digest.hexdigest()))
    return digest.hexdigest()


def forget(folder: Path, digest: str) -> None:
    """Remove the copy of one digest."""
    kept(folder, digest).unlink(missing_ok=True)


def check(path: Path, digest: str) -> None:
    """Make sure that a kept archive is there and whole.

    Raises:
        NotFound: if the file is gone.
        FailedPrecondition: if it is damaged.
    """
    try:
        found = sha256_of(path)
    except FileNotFoundError:
        raise NotFound(f"the archive folder has no {path.name}", reason="ARCHIVE_NOT_FOUND") from None
    if found != digest:
        text = f"{path.name} is damaged: its sha256 is {found[:12]}...; load the archive again"
        raise FailedPrecondition(text, reason="ARCHIVE_DAMAGED")


def check_format(path: Path) -> None:
    """Refuse an archive that another version of Mintage packed, with another format or numerics.

    The model server refuses what is not an archive.

    Raises:
        FailedPrecondition: if it was.
    """
    if not is_current(path):
        text = f"{path.name} was packed by another version of Mintage; pack it again with `mintage pack`, then load it"
        raise FailedPrecondition(text, reason="ARCHIVE_FORMAT")


def is_current(path: Path) -> bool:
    """Whether this version can serve an archive, as far as its `serving.json` tells."""
    serving = serving_of(path)
    return serving is None or (serving.get("format"), serving.get("numerics")) == (ARCHIVE_FORMAT, NUMERICS)


def serving_of(path: Path) -> dict[str, Any] | None:
    """What an archive's `serving.json` says; None for a file that is no archive."""
    try:
        with zipfile.ZipFile(path) as archive, archive.open("serving.json") as file:
            serving = json.loads(file.read(MAX_SERVING_BYTES))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile):
        return None
    return serving if isinstance(serving, dict) else {}


def sha256_of(path: Path) -> str:
    """Digest of a file in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
