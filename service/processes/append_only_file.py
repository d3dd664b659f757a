"""Mending Valkey's append-only file, which a full disk or a dying machine can damage.

Valkey itself drops a last command that was cut off. With anything worse it does not start. What it holds is an index,
rebuilt from the jobs' files, so a stack rather starts with what can be read of it than not at all. Nothing is deleted:
the damaged files are kept beside the others.

    appendonlydir/appendonly.aof.manifest     names the other files, in order
    appendonlydir/appendonly.aof.2.base.rdb   everything, at one moment
    appendonlydir/appendonly.aof.2.incr.aof   the commands since then, as clients send them
"""

from __future__ import annotations

import datetime
import os
import re
import shutil
from pathlib import Path
from typing import BinaryIO

FOLDER = "appendonlydir"  # in Valkey's folder
MANIFEST = "appendonly.aof.manifest"

# What Valkey says as it ends. On a sound start it speaks of these files too, but not at the level `#`.
_COMPLAINT = re.compile(r"^[^#*]* # .*(append only file|\bAOF\b|\bRDB\b)|\*\*\* FATAL AOF|\bRDB check\b", re.M)
_ENTRY = re.compile(r"file (appendonly\.aof\.[0-9]+\.[a-z]+\.[a-z]+) seq [0-9]+ type ([bhi])", re.ASCII)
_WORDS = re.compile(rb"\*([0-9]{1,7})\r\n")
_LENGTH = re.compile(rb"\$([0-9]{1,10})\r\n")


def is_to_blame(log: str) -> bool:
    """Tell from what Valkey wrote before it ended whether its append-only file keeps it from starting."""
    return _COMPLAINT.search(log) is not None


def is_without_manifest(folder: Path) -> bool:
    """Whether there are files but nothing that names them: Valkey would begin anew and write over them in silence."""
    files = folder / FOLDER
    return files.is_dir() and any(files.iterdir()) and not (files / MANIFEST).exists()


def cut(folder: Path) -> str | None:
    """Cut the last file of commands after its last whole one.

    Args:
        folder: Valkey's own.
    Returns: What was done, for people; None if there is nothing to cut.

    Raises:
        OSError: if the disk has no room for a copy.
    """
    last = _last_commands(folder / FOLDER)
    if last is None:
        return None
    with last.open("rb") as file:
        sound, size = _sound_bytes(file), os.fstat(file.fileno()).st_size
    if sound == size:
        return None
    aside = _free_name(folder)
    shutil.copytree(folder / FOLDER, aside)
    os.truncate(last, sound)
    return _told(f"its last {size - sound:,} of {size:,} bytes could not be read", aside)


def set_aside(folder: Path) -> str | None:
    """Rename the append-only file, so that Valkey begins without one.

    Args:
        folder: Valkey's own.
    Returns: What was done, for people; None if there is none.
    """
    if not (folder / FOLDER).exists():
        return None
    aside = _free_name(folder)
    (folder / FOLDER).rename(aside)
    return _told("nothing of it could be read", aside)


def _told(what: str, aside: Path) -> str:
    return (
        f"Valkey's append-only file was damaged: {what}. The index of jobs is brought up to date from the jobs' files; "
        f"the damaged file is in {aside}"
    )


def _last_commands(files: Path) -> Path | None:
    """Return the last file of commands that the manifest names, if it is there."""
    try:
        lines = (files / MANIFEST).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    entries = [entry for entry in map(_ENTRY.match, lines) if entry]
    if not entries or entries[-1][2] != "i" or not (files / entries[-1][1]).is_file():
        return None
    return files / entries[-1][1]


def _sound_bytes(file: BinaryIO) -> int:
    """Return how many bytes hold whole commands; an unfinished transaction is none."""
    sound, size, open_transaction = 0, os.fstat(file.fileno()).st_size, False
    while command := _command(file, size):
        open_transaction = (open_transaction or command == b"MULTI") and command != b"EXEC"
        if not open_transaction:
            sound = file.tell()
    return sound


def _command(file: BinaryIO, size: int) -> bytes:
    """Read one command; returns its name, `#` for a line of comment, or nothing if there is no whole one."""
    head = file.readline(128)
    if head.startswith(b"#") and head.endswith(b"\n"):
        return b"#"
    words = _WORDS.fullmatch(head)
    name = b""
    for _ in range(int(words[1]) if words else 0):
        length = _LENGTH.fullmatch(file.readline(128))
        if length is None or file.tell() + int(length[1]) + 2 > size:
            return b""
        word = file.read(int(length[1]) + 2)
        if not word.endswith(b"\r\n"):
            return b""
        name = name or word[:-2].upper()
    return name


def _free_name(folder: Path) -> Path:
    """Return a name in Valkey's folder that nothing has yet."""
    now = datetime.datetime.now(datetime.UTC)
    names = (folder / f"damaged-{now:%Y%m%dT%H%M%S}{suffix}" for suffix in ("", *(f"-{n}" for n in range(1, 1000))))
    return next(name for name in names if not name.exists())
