"""The IDX files of MNIST and its relatives, plain or gzipped.

A file starts with two zero bytes, a byte for the type of an entry (8: unsigned byte), a byte for the number of
dimensions, then each dimension as a big-endian 32-bit number, then the entries, row by row.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from training.data.labelled import Split
from training.data.splits import Pixels
from training.errors import DataError

MAX_BYTES = 2**30  # of entries; EMNIST's largest file has 547 MB
MAX_GZIP_RATIO = 1032  # deflate's largest ratio, on zeros
UNSIGNED_BYTE = 8
NAMES: dict[Split, tuple[str, str]] = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}


def recognises(source: Path) -> bool:
    """Return whether a folder has any file of the MNIST layout."""
    return any(_find(source, name) is not None for names in NAMES.values() for name in names)


def has_split(source: Path, split: Split) -> bool:
    """Return True: both splits belong to the layout; a missing one is an error when opened."""
    return True


def open_split(source: Path, split: Split, limit: int | None) -> Pixels:
    """Read the images [N, H, W, 1] and labels [N] of one split of a folder in the MNIST layout.

    Args:
        source: folder with `train-images-idx3-ubyte` and so on, with or without `.gz`.
        split: "train" or "test".
        limit: number of first images to keep.

    Raises:
        DataError: if a file is missing or damaged, or images and labels differ in number.
    """
    images_path, labels_path = (_existing(source, name) for name in NAMES[split])
    images, labels = read_idx(images_path, dimensions=3), read_idx(labels_path, dimensions=1)
    if len(images) != len(labels):
        raise DataError(f"{images_path} holds {len(images)} images, but {labels_path} holds {len(labels)} labels")
    return Pixels(images[:limit, ..., None], labels[:limit].astype(np.int64))


def read_idx(path: Path, *, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes with a given number of dimensions.

    Never allocates more than the file can hold, whatever its header claims.

    Raises:
        DataError: if the file, which is named, is not such a file, is truncated or too long, or claims too much.
    """
    try:
        with _opened(path) as file:
            return _read(file, path, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}; download it again") from None


def _read(file: IO[bytes], path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read the header, then exactly the entries that it announces."""
    shape = _shape(file.read(4 + 4 * dimensions), path, dimensions)
    size = math.prod(shape)
    most = min(MAX_BYTES, path.stat().st_size * (MAX_GZIP_RATIO if path.suffix == ".gz" else 1))
    if not 0 < size <= most:
        raise DataError(f"{path} claims {' x '.join(map(str, shape))} entries, but can hold only 1 to {most}")
    body = file.read(size + 1)
    if len(body) != size:
        found = f"only {len(body)}" if len(body) < size else "more"
        raise DataError(f"{path} should hold {size} bytes after its header, but holds {found}; download it again")
    return np.frombuffer(body, np.uint8).reshape(shape)


def _shape(header: bytes, path: Path, dimensions: int) -> tuple[int, ...]:
    """Check the magic number and return the dimensions."""
    magic = struct.pack(">HBB", 0, UNSIGNED_BYTE, dimensions)
    if header[:4] != magic:
        raise DataError(
            f"{path} begins with {header[:4].hex() or 'nothing'}; {magic.hex()} was expected of an IDX file"
        )
    if len(header) < 4 + 4 * dimensions:
        raise DataError(f"{path} ends inside its header; download it again")
    return struct.unpack(f">{dimensions}I", header[4:])


def _opened(path: Path) -> IO[bytes]:
    """Open a file, through gzip if its name says so."""
    return cast(IO[bytes], gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")


def _existing(folder: Path, name: str) -> Path:
    """Return the path of a file, plain or gzipped, or raise DataError naming it."""
    path = _find(folder, name)
    if path is None:
        raise DataError(f"{folder} has neither {name} nor {name}.gz")
    return path


def _find(folder: Path, name: str) -> Path | None:
    """Return the path of a file, plain or gzipped, or None; some copies have a dot before idx."""
    spellings = (name, name.replace("-idx", ".idx"))
    return next((p for s in spellings for p in (folder / s, folder / f"{s}.gz") if p.is_file()), None)
