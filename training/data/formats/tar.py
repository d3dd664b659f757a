"""A strict reader of tar members, in sequence and without unpacking to disk.

Python's own reader takes a damaged header for the end of the archive and accepts any size, so a truncated shard would
pass for a short one. This one accepts regular files, folders and long-name headers of GNU and POSIX tars; links,
devices, sparse files, and names that lead out of the archive are refused.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, cast

from training.data.report import Report
from training.errors import DataError

BLOCK = 512  # bytes, the unit of a tar
RECORD = 20 * BLOCK  # what GNU tar and Python fill an archive up to
GZIP = b"\x1f\x8b"  # how a gzipped archive begins, whatever its name
ENDS_TO_END = "end marks inside tars that were joined end to end; what follows them was read"
MAX_HEADER_BYTES = 64 * 1024  # of a long name or of POSIX's extra fields
MAX_END_BYTES = 2 * 2**20  # of zeros behind the last member: twice GNU tar's largest usual record
MAX_UNPACKED_BYTES = 4 * 2**30  # of a compressed archive
PLAIN, FOLDER, POSIX, POSIX_GLOBAL, LONG_NAME = (b"0", b"\0"), b"5", b"x", b"g", b"L"


def read_members(
    path: Path, wanted: Callable[[str], bool], *, max_bytes: int, report: Report | None = None
) -> Iterator[tuple[str, bytes]]:
    """Yield the regular files of a tar, plain or gzipped.

    Args:
        path: of the archive.
        wanted: whether to read the member of a name; others are skipped. Called once per regular file, in order.
        max_bytes: limit per member.
        report: is told of archives that were joined end to end.

    Yields:
        Names and contents.

    Raises:
        DataError: if the archive, which is named, is damaged, truncated, or has a forbidden member.
    """
    try:
        with _opened(path) as file:
            yield from _Members(file, path, max_bytes, report or Report()).read(wanted)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def first_name(path: Path) -> str:
    """Return the name of an archive's first regular file, "" if it has none; errors as `read_members`."""
    try:
        with _opened(path) as file:
            return next((name for name, _ in _Members(file, path, MAX_HEADER_BYTES, Report()).files()), "")
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def _opened(path: Path) -> IO[bytes]:
    """Open an archive, through gzip if it is gzipped."""
    return cast(IO[bytes], gzip.open(path, "rb")) if _is_gzip(path) else path.open("rb")


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


class _Members:
    """Reads one archive."""

    def __init__(self, file: IO[bytes], path: Path, max_bytes: int, report: Report) -> None:
        self._file, self._path, self._max_bytes, self._report = file, path, max_bytes, report
        self._compressed = _is_gzip(path)
        self._unread = 0
        self._end = MAX_UNPACKED_BYTES if self._compressed else path.stat().st_size

    def read(self, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        """See `read_members`."""
        for name, size in self.files():
            if wanted(name):
                self._unread = 0
                yield name, self._content(name, size)

    def files(self) -> Iterator[tuple[str, int]]:
        """Yield the names and sizes of regular files; `_unread` bytes of each are passed over before the next one."""
        long_name: str | None = None
        while (header := self._header()) is not None:
            kind, size = header[156:157], self._size(header)
            if kind in (POSIX, POSIX_GLOBAL, LONG_NAME):
                found = self._long_name(kind, size)
                long_name = long_name if found is None else found
                continue
            name = self._safe(long_name if long_name is not None else self._name(header))
            long_name = None
            if kind not in (*PLAIN, FOLDER):
                raise self._error(f"{name} is neither a file nor a folder (type {kind!r}); pack plain files only")
            self._unread = size
            if kind != FOLDER:
                yield name, size
            self._file.seek(self._unread + -self._unread % BLOCK, 1)

    def _header(self) -> bytes | None:
        """Return the next header, or None at the end."""
        header = self._file.read(BLOCK)
        if header == bytes(BLOCK):
            joined = self._after_end_mark()
            if joined is None:
                return None
            header = joined
        if len(header) < BLOCK:
            raise self._error("it ends before its end mark; it was cut short, copy it again")
        if self._number(header[148:156]) != sum(header[:148]) + 8 * ord(" ") + sum(header[156:]):
            raise self._error("no tar header stands where one should; it is damaged or no tar")
        return header

    def _number(self, field: bytes) -> int:
        """Parse an octal field; anything else is -1."""
        digits = field.strip(b" \0")
        return int(digits, 8) if digits and set(digits) <= set(b"01234567") else -1

    def _size(self, header: bytes) -> int:
        """Return a member's size in bytes; DataError if the archive cannot hold it."""
        size = self._number(header[124:136])
        if not 0 <= size <= self._end - self._file.tell():
            name = header[:100].rstrip(bytes(1)).decode("utf-8", "backslashreplace")
            raise self._error(f"{name} claims more bytes than are left; it was cut short, copy it again")
        return size

    def _name(self, header: bytes) -> str:
        """Return the name of a member, with the prefix that a POSIX header may hold."""
        name, prefix = header[:100].split(b"\0")[0], header[345:500].split(b"\0")[0]
        posix = header[257:263] == b"ustar\0"
        return self._text(prefix + b"/" + name if posix and prefix else name)

    def _text(self, name: bytes) -> str:
        try:
            return name.decode()
        except UnicodeDecodeError:
            raise self._error(f"the name {name!r} is not UTF-8") from None

    def _safe(self, name: str) -> str:
        """Refuse a name that leads out of the archive or is not printable."""
        path = PurePosixPath(name)
        leads_out = path.is_absolute() or ".." in path.parts or "\\" in name or PureWindowsPath(name).drive
        if leads_out or not name or not name.isprintable():
            raise self._error(f"{name!r} is not a valid member name; expected a relative path inside the archive")
        return str(path)

    def _long_name(self, kind: bytes, size: int) -> str | None:
        """Read an extended header of the next member, and return its name if there is one."""
        if size > MAX_HEADER_BYTES:
            raise self._error(f"a header of {size} bytes; at most {MAX_HEADER_BYTES} are read")
        content = self._content("a header", size)
        if kind == LONG_NAME:
            return self._text(content.rstrip(b"\0"))
        fields = dict(self._fields(content))
        if b"size" in fields or any(key.startswith(b"GNU.sparse") for key in fields):
            raise self._error("a sparse or very large member; pack plain files only")
        return self._text(fields[b"path"]) if kind == POSIX and b"path" in fields else None

    def _fields(self, content: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Parse POSIX's records: the length in digits, a blank, key=value, a line feed."""
        while content:
            digits, _, rest = content.partition(b" ")
            length = int(digits) if digits.isdigit() and len(digits) < 6 else 0
            record = content[len(digits) + 1 : length]
            key, equals, value = record.partition(b"=")
            if not rest or not equals or not value.endswith(b"\n") or length > len(content):
                raise self._error("a damaged header of extra fields")
            yield key, value[:-1]
            content = content[length:]

    def _content(self, name: str, size: int) -> bytes:
        """Read a member and the padding after it."""
        if size > self._max_bytes:
            raise self._error(f"{name} holds {size} bytes; at most {self._max_bytes} are read")
        content = self._file.read(size + -size % BLOCK)
        if len(content) < size + -size % BLOCK:
            raise self._error(f"it ends inside {name}; it was cut short, copy it again")
        return content[:size]

    def _after_end_mark(self) -> bytes | None:
        """Read on behind a block of zeros: return the first other block, of an archive that was joined to this one.

        Archives are joined where a record ends, behind two blocks of zeros or more and at most a record of them. Zeros
        elsewhere have overwritten something. A gzipped archive is read to its end, where the checksum stands.
        """
        blocks = 1
        while (block := self._file.read(BLOCK)) == bytes(BLOCK):
            blocks += 1
            self._check_unpacked()
        if not block.strip(b"\0"):
            if blocks * BLOCK > MAX_END_BYTES:
                raise self._error(f"it ends in {blocks * BLOCK} bytes of zeros; it was copied in part, copy it again")
            return None
        joined = (self._file.tell() - len(block)) % RECORD == 0 and 2 <= blocks <= RECORD // BLOCK + 1
        if not joined:
            raise self._error(
                f"{blocks * BLOCK} bytes of zeros stand where a header should, and data follow: it is damaged, copy it "
                "again; or it was joined of several tars, then give them one by one"
            )
        self._report.pass_over(ENDS_TO_END, self._path.name)
        return block

    def _check_unpacked(self) -> None:
        if self._compressed and self._file.tell() > self._end:
            raise self._error(
                f"it unpacks to more than {self._end} bytes; unpack it with gunzip, and read the plain tar"
            )

    def _error(self, what: str) -> DataError:
        return DataError(f"{self._path}: {what}")
