"""The IDX files of MNIST and its relatives, plain or gzipped, EMNIST's with the name of a set before them.

They may lie in folders of the source, such as torchvision's `MNIST/raw`. EMNIST's letters lie on their side, as their
authors published them.

A file starts with two zero bytes, a byte for the type of an entry (8: unsigned byte), a byte for the number of
dimensions, then each dimension as a big-endian 32-bit number, then the entries, row by row.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from pathlib import Path
from typing import IO, cast

import numpy as np
from numpy.typing import NDArray

from training.data.formats.listing import files_below
from training.data.labelled import Split
from training.data.report import Report
from training.data.splits import Pixels
from training.errors import DataError

MAX_BYTES = 2**30  # of entries; EMNIST's largest file has 547 MB
MAX_GZIP_RATIO = 1032  # deflate's largest ratio, on zeros
GZIP = b"\x1f\x8b"  # how a gzipped file begins, whatever its name
UNSIGNED_BYTE = 8
NAME = re.compile(
    r"((?P<set>.+)-)?(?P<split>train|t10k|test)-(?P<what>images|labels)[-.]idx[13]-ubyte(\.gz)?", re.ASCII | re.I
)
SPLITS: dict[str, Split] = {"train": "train", "t10k": "test", "test": "test"}
DEPTH = 2  # folders in which the files are looked for: torchvision keeps them in MNIST/raw
DEEPER = "IDX files in further folders, beside those that were read"


def recognises(source: Path) -> bool:
    """Return whether a folder has any file of the MNIST layout, there or in MNIST/raw."""
    return source.is_dir() and bool(_sets(source))


def has_split(source: Path, split: Split) -> bool:
    """Return whether there are images of a split."""
    return (split, "images") in _files_of(source, Report())


def open_split(source: Path, split: Split, limit: int | None, report: Report) -> Pixels:
    """Read the images [N, H, W, 1] and labels [N] of one split of a folder in the MNIST layout.

    Args:
        source: folder with `train-images-idx3-ubyte` and so on, with or without `.gz`, EMNIST's names included.
        split: "train" or "test".
        limit: not used.
        report: is told of files that are not read.

    Raises:
        DataError: if a file is missing or damaged, or images and labels differ in number, or several sets lie there.
    """
    files = _files_of(source, report)
    for what in ("images", "labels"):
        if (split, what) not in files:
            usual = f"{'train' if split == 'train' else 't10k'}-{what}-idx{3 if what == 'images' else 1}-ubyte"
            raise DataError(f"{source} has neither {usual} nor {usual}.gz")
    images_path, labels_path = files[split, "images"], files[split, "labels"]
    images, labels = read_idx(images_path, dimensions=3), read_idx(labels_path, dimensions=1)
    if len(images) != len(labels):
        raise DataError(f"{images_path} holds {len(images)} images, but {labels_path} holds {len(labels)} labels")
    return Pixels(images[..., None], labels.astype(np.int64))


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
    most = min(MAX_BYTES, path.stat().st_size * (MAX_GZIP_RATIO if _is_gzip(path) else 1))
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
    """Open a file, through gzip if it is gzipped."""
    return cast(IO[bytes], gzip.open(path, "rb")) if _is_gzip(path) else path.open("rb")


def _is_gzip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(GZIP)) == GZIP


def _files_of(source: Path, report: Report) -> dict[tuple[Split, str], Path]:
    """Return the files of the one set that a folder holds, by split and content.

    Raises:
        DataError: if it holds several.
    """
    sets = _sets(source)
    nearest = min((len(folder.parts) for folder, _ in sets), default=0)
    near = {key: files for key, files in sets.items() if len(key[0].parts) == nearest}
    for key in sets.keys() - near.keys():
        report.pass_over(DEEPER, *(str(path.relative_to(source)) for path in sets[key].values()))
    if len(near) > 1:
        shown = ", ".join(str(folder / name) for folder, name in list(near)[:5])
        raise DataError(
            f"{source} holds {len(near)} sets of IDX files ({shown}); put the files of one into a folder of its own, "
            "and name that with --data"
        )
    return next(iter(near.values()), {})


def _sets(source: Path) -> dict[tuple[Path, str], dict[tuple[Split, str], Path]]:
    """Return the sets below a folder by folder and name, such as emnist-letters; plain files go before gzipped ones."""
    found: dict[tuple[Path, str], dict[tuple[Split, str], Path]] = {}
    for path in files_below(source, DEPTH):
        match = NAME.fullmatch(path.name)
        if match is not None:
            files = found.setdefault((path.parent, (match["set"] or "").lower()), {})
            files.setdefault((SPLITS[match["split"].lower()], match["what"].lower()), path)
    return found
