"""Images with labels, or without: what every source becomes."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError

Split = Literal["train", "test"]
UNLABELLED = -1
MAX_CLASSES = 100_000


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """One split of a source.

    Attributes:
        images: uint8 [N, H, W, C], perhaps read-only and mapped from a file.
        labels: int64 [N] in 0..K-1; all are `UNLABELLED` where the source says no classes, then K is 0.
        classes: the names of the K classes.
        name: where the images came from.
        damaged: images that were skipped, each by name with the reason.
        jpeg_quality: of the JPEG that every image went through after it was brought to size, None if it did not.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    name: str = "images"
    damaged: tuple[str, ...] = ()
    jpeg_quality: int | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one image, (H, W, C)."""
        _, height, width, channels = self.images.shape
        return height, width, channels

    def sha256(self) -> str:
        """Return a digest of shape, pixels and labels, by which a resumed run knows its data again."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


def choose_labelled(labels: NDArray[np.int64], *, count: int, classes: int, seed: int) -> NDArray[np.int64]:
    """Choose which images keep their label: the same number of each class, by seed.

    Args:
        labels: [N] the labels of all training images.
        count: images to choose in all, a multiple of `classes`.
        classes: K.
        seed: another seed chooses other images.

    Returns:
        [count] indices into `labels`, class by class.

    Raises:
        DataError: if the images have no labels or others than 0..K-1, `count` is no multiple of `classes`, or a class
            has too few images.
    """
    if classes < 1:
        raise DataError(f"labels={count} were asked for, but the images carry no labels; give data that has some")
    if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
        raise DataError(f"labels run from {labels.min()} to {labels.max()}, but {classes} classes are 0..{classes - 1}")
    each, rest = divmod(count, classes)
    if rest or each < 1:
        raise DataError(f"labels={count} cannot be shared by {classes} classes; choose a multiple of {classes}")
    random = np.random.default_rng([seed, classes])
    chosen = []
    for label in range(classes):
        members = np.flatnonzero(labels == label)
        if len(members) < each:
            raise DataError(f"class {label} has {len(members)} images, but {each} labelled ones a class were asked for")
        chosen.append(random.permutation(members)[:each])
    return np.concatenate(chosen)


def class_names(labels: NDArray[np.int64], names: tuple[str, ...], *, source: str) -> tuple[str, ...]:
    """Return the names of the classes that go with labels: those known, else numbers, none for unlabelled images.

    Args:
        labels: [N].
        names: of the classes 0..K-1, empty if the source does not say.
        source: what the error should name.

    Raises:
        DataError: if some images have a label and others none, or a label lies outside the classes.
    """
    low, high = int(labels.min()), int(labels.max())
    if high == low == UNLABELLED:
        return ()
    if low < 0:
        bare = int((labels < 0).sum())
        raise DataError(f"{source}: {bare} of {len(labels)} images have no label; give every image one, or none")
    if high >= (len(names) or MAX_CLASSES):
        raise DataError(f"{source}: the label {high} lies outside 0..{(len(names) or MAX_CLASSES) - 1}, the classes")
    return names or tuple(str(number) for number in range(high + 1))
