"""Arrays in a `.npz` file, written as a stream: their lengths are known beforehand, their checksums only at the end.

A zip of stored members such as `arr_0.npy` with fixed dates, zip64 where it is needed; the same arrays give the same
bytes. Everything before the first array's own bytes follows from its shape.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

from service.jobs.shards.formats.layout import ShardWriter

ALIGNMENT = 64  # of the array's bytes, as NumPy has it
ZIP64_FROM = 1 << 31  # bytes, as in Python's zipfile
_FLAGS = 8  # checksum and sizes follow the data
_DATE = 1 << 5 | 1  # 1 January 1980
_NONE = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Array:
    """An array of a file: its name, its type as NumPy writes it, such as `|u1`, and its shape."""

    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of its bytes."""
        return math.prod(self.shape) * int(self.kind[2:])

    @property
    def member(self) -> bytes:
        """Name of its member."""
        return f"{self.name}.npy".encode()

    @property
    def member_size(self) -> int:
        """Bytes of its member."""
        return len(self.header) + self.size

    @property
    def header(self) -> bytes:
        """The beginning of a `.npy` file, format 1.0."""
        text = f"{{'descr': '{self.kind}', 'fortran_order': False, 'shape': {self.shape}, }}".encode()
        text += b" " * (-(len(text) + 11) % ALIGNMENT) + b"\n"
        return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text

    @property
    def prefix(self) -> bytes:
        """All of its member that comes before its bytes."""
        extra = struct.pack("<HHQQ", 1, 16, 0, 0) if self.large else b""
        size = _NONE if extra else 0
        facts = (45 if extra else 20, _FLAGS, 0, 0, _DATE, 0, size, size, len(self.member), len(extra))
        return struct.pack("<4sHHHHHLLLHH", b"PK\3\4", *facts) + self.member + extra + self.header

    @property
    def large(self) -> bool:
        """Whether its member needs zip64."""
        return self.member_size >= ZIP64_FROM

    def descriptor(self, checksum: int) -> bytes:
        """Return what comes after its bytes."""
        sizes = (self.member_size, self.member_size)
        return struct.pack("<4sLQQ" if self.large else "<4sLLL", b"PK\7\x08", checksum, *sizes)

    def entry(self, checksum: int, offset: int) -> bytes:
        """Return what the zip's directory says of it."""
        size, far = self.member_size, offset >= _NONE
        wide = (size, size) * self.large + (offset,) * far
        extra = struct.pack(f"<HH{len(wide)}Q", 1, 8 * len(wide), *wide) if wide else b""
        version, shown = 45 if wide else 20, _NONE if self.large else size
        facts = (3 << 8 | version, version, _FLAGS, 0, 0, _DATE, checksum, shown, shown, len(self.member), len(extra))
        begin = struct.pack("<4sHHHHHHLLLHHHHHLL", b"PK\1\2", *facts, 0, 0, 0, 0o100644 << 16, _NONE if far else offset)
        return begin + self.member + extra


class NpzWriter(ShardWriter):
    """Writes a `.npz` of some arrays, one after another."""

    def __init__(self, file: BinaryIO, arrays: Sequence[Array]) -> None:
        super().__init__(file)
        self._waiting = list(arrays)
        self._entries: list[bytes] = []
        self._offset = self._left = self._checksum = 0
        self._begin()

    def data(self, data: bytes) -> None:
        """Append bytes of the array that is not yet complete.

        Raises:
            ValueError: if they are more than it has.
        """
        if not self._waiting or len(data) > self._left:
            raise ValueError("an array has another length than its shape says")
        self._checksum = zlib.crc32(data, self._checksum)
        self._left -= len(data)
        self.write(data)
        if not self._left:
            array = self._waiting.pop(0)
            self.write(array.descriptor(self._checksum))
            self._entries.append(array.entry(self._checksum, self._offset))
            self._begin()

    def end(self) -> None:
        """End the file.

        Raises:
            ValueError: if an array is not complete.
        """
        if self._waiting:
            raise ValueError("an array has another length than its shape says")
        self.write(_directory(self._entries, self.size))

    def _begin(self) -> None:
        if self._waiting:
            array = self._waiting[0]
            self._offset, self._left, self._checksum = self.size, array.size, zlib.crc32(array.header)
            self.write(array.prefix)


def file_size(arrays: Sequence[Array]) -> int:
    """Return the size of the whole file in bytes."""
    at, entries = 0, []
    for array in arrays:
        entries.append(array.entry(0, at))
        at += len(array.prefix) + array.size + len(array.descriptor(0))
    return at + len(_directory(entries, at))


def _directory(entries: Sequence[bytes], at: int) -> bytes:
    """Return the directory of a zip, which begins at a place, and its end."""
    count, size = len(entries), sum(map(len, entries))
    large = at >= ZIP64_FROM
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, count, count, size, _NONE if large else at, 0)
    if large:
        facts = (44, 45, 45, 0, 0, count, count, size, at)
        record = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", *facts)
        end = record + struct.pack("<4sLQL", b"PK\6\7", 0, at + size, 1) + end
    return b"".join(entries) + end
