"""Destinations of decoded images: memory, or two .npy files that can be mapped."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from training.data.report import PassedOver
from training.data.text_labels import renumbered
from training.errors import DataError

MAX_MEMORY_BYTES = 8 * 2**30  # of images decoded without a cache
MAX_FILE_BYTES = 64 * 2**30  # of a split's images in the cache
IMAGES_FILE, LABELS_FILE = "images.npy", "labels.npy"


@dataclass(frozen=True, slots=True)
class Findings:
    """What a split's images do not show.

    Attributes:
        damaged: images that were skipped, each by name with the reason.
        passed_over: what else was not read.
        classes: the names of the classes, if the labels are text.
    """

    damaged: tuple[str, ...]
    passed_over: tuple[PassedOver, ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DecodedImages:
    """Images uint8 [N, H, W, C], labels int64 [N], and what they do not show."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    findings: Findings


class MemoryStore:
    """Keeps decoded images in memory."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Discard all images."""
        self._images: list[NDArray[np.uint8]] = []
        self._labels: list[NDArray[np.int64]] = []
        self._bytes = 0

    def add(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        """Append images [n, H, W, C] with labels [n]."""
        self._bytes += images.nbytes
        check_bytes(self._bytes, MAX_MEMORY_BYTES)
        self._images.append(images)
        self._labels.append(labels)

    def renumber(self, places: NDArray[np.int64]) -> None:
        """Replace each label by its place."""
        self._labels = [renumbered(labels, places) for labels in self._labels]

    def decoded(self, findings: Findings) -> DecodedImages:
        """Return all images."""
        return DecodedImages(np.concatenate(self._images), np.concatenate(self._labels), findings)


class FileStore:
    """Writes decoded images to a folder; the header's length is written last."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = (folder / IMAGES_FILE).open("wb")
        self.clear()

    def clear(self) -> None:
        """Discard all images."""
        self._file.seek(0)
        self._file.truncate()
        self._labels: list[NDArray[np.int64]] = []
        self._shape: tuple[int, ...] | None = None  # of one image
        self._digest = hashlib.sha256()

    def add(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        """Append images [n, H, W, C] with labels [n]."""
        if self._shape is None:
            self._shape = images.shape[1:]
            self._write_header(0)
        self._file.write(images.data)
        self._digest.update(images.data)
        self._labels.append(labels)
        check_bytes(self._file.tell(), MAX_FILE_BYTES)

    def renumber(self, places: NDArray[np.int64]) -> None:
        """Replace each label by its place."""
        self._labels = [renumbered(labels, places) for labels in self._labels]

    def finish(self) -> tuple[str, str]:
        """Finish both files and return the digests of pixels and labels.

        Raises:
            OSError: if the disk is full.
        """
        labels = np.concatenate(self._labels)
        self._file.seek(0)
        self._write_header(len(labels))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        with (self._folder / LABELS_FILE).open("wb") as file:
            np.save(file, labels)
            file.flush()
            os.fsync(file.fileno())
        return self._digest.hexdigest(), sha256(labels)

    def close(self) -> None:
        """Close the file, finished or not."""
        self._file.close()

    def _write_header(self, count: int) -> None:
        """Write the header, which NumPy pads so that a larger count still fits."""
        assert self._shape is not None  # noqa: S101 - set with the first image
        npy.write_array_header_1_0(self._file, {"descr": "|u1", "fortran_order": False, "shape": (count, *self._shape)})


def sha256(array: NDArray[np.uint8] | NDArray[np.int64]) -> str:
    """Return the digest of an array's contents."""
    return hashlib.sha256(np.ascontiguousarray(array).data).hexdigest()


def check_bytes(count: int, most: int) -> None:
    """Raise DataError if decoded images take too many bytes."""
    if count > most:
        raise DataError(
            f"the images take more than {most} bytes when decoded; take fewer with --limit, or smaller ones with --size"
        )
