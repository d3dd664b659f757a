"""npz files in the layout of ADM's evaluation suite, such as those of a sample job: `arr_0`, images; `arr_1`, labels.

A source is one file, or a folder of files, whose splits are told by their names. Other arrays are not read.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.data.formats.listing import ARRAYS, packed_below
from training.data.formats.split_names import by_split, one_folder, pass_over_others
from training.data.labelled import MAX_CLASSES, UNLABELLED, Split
from training.data.report import Report
from training.data.splits import Pixels
from training.data.store import MAX_MEMORY_BYTES, check_bytes
from training.data.text_labels import TextLabels, renumbered
from training.errors import DataError

IMAGES, LABELS = "arr_0", "arr_1"
OTHERS = "arrays that are not read"


def recognises(source: Path) -> bool:
    """Return whether a source is an npz file or a folder with some."""
    return source.name.lower().endswith(ARRAYS) if source.is_file() else bool(packed_below(source).arrays)


def has_split(source: Path, split: Split) -> bool:
    """Return whether there are files of a split; a single file holds training images."""
    return split in _files_of(source, Report())


def open_split(source: Path, split: Split, limit: int | None, report: Report) -> Pixels:
    """Read the files of a split.

    Args:
        source: a file or a folder.
        split: "train" or "test".
        limit: not used.
        report: is told of arrays that are not read.

    Raises:
        DataError: if there are no files, it is not clear which are meant, or one holds no such arrays.
    """
    paths = _files_of(source, report).get(split)
    if not paths:
        raise DataError(f"{source} has no {split}*.npz; give the files of a split a name with {split} in it")
    check_bytes(sum(_unpacked_bytes(path) for path in paths), MAX_MEMORY_BYTES)
    read = [_read(path, report) for path in paths]
    for path, (images, _) in zip(paths, read, strict=True):
        if images.shape[1:] != read[0][0].shape[1:]:
            raise DataError(
                f"{path} holds images of {list(images.shape[1:])}, and {paths[0]} of {list(read[0][0].shape[1:])}; "
                "name one with --data"
            )
    if len({labels.dtype.kind == "U" for _, labels in read}) > 1:
        raise DataError(f"{source}: labels are text in some files and not in others; write all of one kind")
    images, labels = (np.concatenate(arrays) for arrays in zip(*read, strict=True))
    if labels.dtype.kind != "U":
        return Pixels(images, labels)
    texts = TextLabels()
    numbers = np.array([texts.number(text) for text in labels.tolist()], np.int64)
    places, classes = texts.finish(report)
    return Pixels(images, renumbered(numbers, places), classes, bool(classes))


def _files_of(source: Path, report: Report) -> dict[str, list[Path]]:
    """Return the files of each split in the order of their names."""
    if source.is_file():
        return {"train": [source]}
    found = packed_below(source)
    found.check_alone(source)
    one_folder(source, found.arrays, what="npz files")
    splits = by_split(source, found.arrays, what="npz files")
    pass_over_others(source, splits, report, what="npz files")
    return splits


def _unpacked_bytes(path: Path) -> int:
    try:
        with zipfile.ZipFile(path) as archive:
            return sum(member.file_size for member in archive.infolist() if member.filename.startswith("arr_"))
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no npz file, or is damaged: {error}; copy it again") from None


def _read(path: Path, report: Report) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Return a file's images [n, H, W, C] and labels [n], numbers or texts; `UNLABELLED` without any."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            names = arrays.files
            images: NDArray[Any] = arrays[IMAGES] if IMAGES in names else np.empty(0)
            labels: NDArray[Any] = arrays[LABELS] if LABELS in names else np.full(len(images), UNLABELLED)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is no npz file, or is damaged: {error}; copy it again") from None
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in (1, 3) or not images.size:
        raise DataError(
            f"{path} holds {', '.join(names)}; expected {IMAGES}, images uint8 [N, H, W, C] with 1 or 3 channels"
        )
    if labels.shape != images.shape[:1] or labels.dtype.kind not in "iuU":
        raise DataError(
            f"{path} has labels {LABELS} of {labels.dtype} {list(labels.shape)}; expected one number or text per image"
        )
    report.pass_over(OTHERS, *(name for name in names if name not in (IMAGES, LABELS)))
    if labels.dtype.kind == "U":
        return images, labels
    if labels.min() < UNLABELLED or labels.max() >= MAX_CLASSES:
        raise DataError(f"{path} has labels from {labels.min()} to {labels.max()}, not from 0 to {MAX_CLASSES - 1}")
    return images, labels.astype(np.int64)
