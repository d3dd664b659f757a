"""One uint8 array in a `.npz` file, written as a stream: its length is known beforehand, its checksum only at the end.

A zip of one stored member `arr_0.npy` with fixed dates, zip64 where it is needed; the same array gives the same bytes.
Everything before the array's own bytes follows from its shape.
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

from service.jobs.shards.formats.layout import ShardWriter

MEMBER = b"arr_0.npy"
ALIGNMENT = 64  # of the array's bytes, as NumPy has it
ZIP64_FROM = 1 << 31  # bytes, as in Python's zipfile
_FLAGS = 8  # checksum and sizes follow the data
_DATE = 1 << 5 | 1  # 1 January 1980
_NONE = 0xFFFFFFFF

Shape = tuple[int, int, int, int]


class NpzWriter(ShardWriter):
    """Writes a `.npz` of `arr_0` uint8 [N, H, W, C]."""

    def __init__(self, file: BinaryIO, shape: Shape) -> None:
        super().__init__(file)
        self._shape = shape
        self.write(prefix(shape))
        self._checksum = zlib.crc32(_array_header(shape))

    def data(self, data: bytes) -> None:
        """Append bytes of the array."""
        self._checksum = zlib.crc32(data, self._checksum)
        self.write(data)

    def end(self) -> None:
        """End the file.

        Raises:
            ValueError: if the array has fewer or more bytes than its shape says.
        """
        if self.size != len(prefix(self._shape)) + array_size(self._shape):
            raise ValueError("the array has another length than its shape says")
        self.write(_suffix(self._shape, self._checksum))


def prefix(shape: Shape) -> bytes:
    """Return all that comes before the bytes of the array."""
    extra = struct.pack("<HHQQ", 1, 16, 0, 0) if _is_zip64(shape) else b""
    size = _NONE if extra else 0
    facts = (45 if extra else 20, _FLAGS, 0, 0, _DATE, 0, size, size, len(MEMBER), len(extra))
    return struct.pack("<4sHHHHHLLLHH", b"PK\3\4", *facts) + MEMBER + extra + _array_header(shape)


def file_size(shape: Shape) -> int:
    """Return the size of the whole file in bytes."""
    return len(prefix(shape)) + array_size(shape) + len(_suffix(shape, 0))


def array_size(shape: Shape) -> int:
    """Return the number of bytes of the array."""
    count, height, width, channels = shape
    return count * height * width * channels


def _array_header(shape: Shape) -> bytes:
    """Return the beginning of a `.npy` file, format 1.0."""
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(len(text) + 11) % ALIGNMENT) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(text)) + text


def _member_size(shape: Shape) -> int:
    return len(_array_header(shape)) + array_size(shape)


def _is_zip64(shape: Shape) -> bool:
    return _member_size(shape) >= ZIP64_FROM


def _suffix(shape: Shape, checksum: int) -> bytes:
    """Return all that comes after the array: its checksum and sizes, the zip's directory and end."""
    size, large = _member_size(shape), _is_zip64(shape)
    descriptor = struct.pack("<4sLQQ" if large else "<4sLLL", b"PK\7\x08", checksum, size, size)
    at = len(prefix(shape)) + array_size(shape) + len(descriptor)
    extra = struct.pack("<HHQQ", 1, 16, size, size) if large else b""
    shown = _NONE if large else size
    version = 45 if large else 20
    facts = (3 << 8 | version, version, _FLAGS, 0, 0, _DATE, checksum, shown, shown, len(MEMBER), len(extra))
    entry = struct.pack("<4sHHHHHHLLLHHHHHLL", b"PK\1\2", *facts, 0, 0, 0, 0o100644 << 16, 0) + MEMBER + extra
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 1, 1, len(entry), _NONE if large else at, 0)
    if large:
        facts64 = (44, version, version, 0, 0, 1, 1, len(entry), at)
        end = (
            struct.pack("<4sQHHLLQQQQ", b"PK\6\6", *facts64)
            + struct.pack("<4sLQL", b"PK\6\7", 0, at + len(entry), 1)
            + end
        )
    return descriptor + entry + end
