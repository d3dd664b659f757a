"""What the readers of formats return: pixels, or image files to decode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.data.labelled import UNLABELLED, Split
from training.data.report import Report


@dataclass(frozen=True, slots=True)
class Pixels:
    """A split stored as pixels: images uint8 [N, H, W, C], labels int64 [N], class names or ().

    Attributes:
        texts: whether the class names are the texts that the source has for labels.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...] = ()
    texts: bool = False


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One encoded image file.

    Attributes:
        name: within its source, for errors.
        data: the file's bytes, or its path.
        label: 0..K-1, or `UNLABELLED`; or the name of its class, in sources whose labels are text.
    """

    name: str
    data: bytes | Path
    label: int | str = UNLABELLED


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """A split that is stored as image files.

    Attributes:
        source: name of the source, for errors.
        files: name and path of every file that determines the split; without any, it is not cached.
        images: iterates over the images in a fixed order, and tells a report what it passes over; may raise DataError.
        classes: class names, () if unknown.
        count: number of images, if known in advance.
    """

    source: str
    files: tuple[tuple[str, Path], ...]
    images: Callable[[Report], Iterator[ImageFile]]
    classes: tuple[str, ...] = ()
    count: int | None = None


class Format(Protocol):
    """A module that reads one format."""

    def recognises(self, source: Path) -> bool:
        """Return whether a file or folder has this format."""
        ...

    def has_split(self, source: Path, split: Split) -> bool:
        """Return whether a source of this format has a split."""
        ...

    def open_split(self, source: Path, split: Split, limit: int | None, report: Report) -> Pixels | ImageFiles:
        """Open a split; DataError if it is missing or damaged.

        Image files are limited to those that `limited` chooses; pixels are all of them. The report is told what was
        passed over in finding the split.
        """
        ...
