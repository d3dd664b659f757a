"""What the readers of formats hand on: pixels as they are, or image files that wait to be decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.data.labelled import UNLABELLED, Split


@dataclass(frozen=True, slots=True)
class Pixels:
    """A split that is stored as pixels: images uint8 [N, H, W, C], labels int64 [N], names of classes or ()."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image file that waits to be decoded.

    Attributes:
        name: what errors call it, inside its source.
        data: the bytes of the file, or where they are.
        formats: what Pillow may take it for.
        label: 0..K-1, or `UNLABELLED`.
    """

    name: str
    data: bytes | Path
    formats: tuple[str, ...]
    label: int = UNLABELLED


@dataclass(frozen=True, slots=True)
class ImageFiles:
    """A split that is stored as image files.

    Attributes:
        source: what errors call the whole.
        files: name and path of every file whose bytes decide what the split is; without any, it is not cached.
        images: goes through the images, in an order that never changes; may raise DataError.
        classes: names of the classes, () if the source does not say.
        count: images in all, if that is known beforehand.
    """

    source: str
    files: tuple[tuple[str, Path], ...]
    images: Callable[[], Iterator[ImageFile]]
    classes: tuple[str, ...] = ()
    count: int | None = None


class Format(Protocol):
    """A module that reads one format."""

    def recognises(self, source: Path) -> bool:
        """Say whether a file or folder looks like this format."""
        ...

    def has_split(self, source: Path, split: Split) -> bool:
        """Say whether a source of this format comes with that split."""
        ...

    def open_split(self, source: Path, split: Split, limit: int | None) -> Pixels | ImageFiles:
        """Open a split, of which the first `limit` images suffice; raise DataError if it is missing or damaged."""
        ...
