"""PNG files that are the same bytes for the same image, on every machine.

Every row takes the filter Up, for many images at once; libdeflate at level 1 does the rest. Its bytes depend on its
version alone, those of ISA-L and of zlib-ng on the processor too; docs/dependencies.md compares them. `ENCODER` names
all that decides the bytes, and a job's plan holds it.
"""

from __future__ import annotations

import importlib.metadata
import struct
from collections.abc import Callable, Iterator, Mapping

import deflate
import numpy as np
from numpy.typing import NDArray

LEVEL = 1
ENCODER = f"deflate {importlib.metadata.version('deflate')}, level {LEVEL}, filter up"
TOGETHER = 64  # images filtered at once: few enough to be in the cache still when they are compressed
_SIGNATURE, _HEADER_CHUNK = b"\x89PNG\r\n\x1a\n", 25  # bytes of the chunk IHDR
_UP = 2
_COLOUR_TYPES = {1: 0, 3: 2}


def compress(rows: NDArray[np.uint8]) -> bytearray:
    """Compress filtered rows into a zlib stream; other threads run meanwhile."""
    return deflate.zlib_compress(rows, LEVEL)


def encode(
    images: NDArray[np.uint8], compress: Callable[[NDArray[np.uint8]], bytes | bytearray] = compress
) -> Iterator[bytes]:
    """Encode images uint8 [N, H, W, C], C being 1 or 3, one PNG file after the other."""
    _, height, width, channels = images.shape
    header = struct.pack(">IIBBBBB", width, height, 8, _COLOUR_TYPES[channels], 0, 0, 0)
    start, end = _SIGNATURE + b"".join(_chunk(b"IHDR", header)), b"".join(_chunk(b"IEND", b""))
    for first in range(0, len(images), TOGETHER):
        for rows in _filtered(images[first : first + TOGETHER]):
            yield b"".join((start, *_chunk(b"IDAT", compress(rows)), end))


def with_text(file: bytes, text: Mapping[str, str]) -> bytes:
    """Put texts into a PNG file by their keywords, each of 1 to 79 Latin letters; UTF-8, uncompressed."""
    place = len(_SIGNATURE) + _HEADER_CHUNK
    chunks = (_chunk(b"iTXt", key.encode("latin-1") + b"\0\0\0\0\0" + value.encode()) for key, value in text.items())
    return b"".join((file[:place], *(part for chunk in chunks for part in chunk), file[place:]))


def _filtered(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Subtract from each row the one above it and put the filter's number before it: [N, H, 1 + W * C]."""
    count, height, width, channels = images.shape
    rows = np.empty((count, height, 1 + width * channels), np.uint8)
    flat = images.reshape(count, height, width * channels)  # [N, H, W * C]
    rows[:, :, 0] = _UP
    rows[:, 0, 1:] = flat[:, 0]
    np.subtract(flat[:, 1:], flat[:, :-1], out=rows[:, 1:, 1:])
    return rows


def _chunk(kind: bytes, data: bytes | bytearray) -> tuple[bytes, bytes, bytes | bytearray, bytes]:
    """Return the parts of a chunk: length, kind, data, checksum."""
    checksum = deflate.crc32(data, deflate.crc32(kind))
    return struct.pack(">I", len(data)), kind, data, struct.pack(">I", checksum)
