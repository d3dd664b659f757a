"""Images with or without labels, the result of loading any source."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError

Split = Literal["train", "test"]
UNLABELLED = -1  # label of an image without one
MAX_CLASSES = 100_000  # of a source without class names; larger labels are taken for damage


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """One split of a source.

    Attributes:
        images: uint8 [N, H, W, C], possibly read-only and mapped from a file.
        labels: int64 [N] in 0..K-1; all `UNLABELLED` with K = 0 if the source has no classes.
        classes: the names of the K classes.
        name: of the source.
        damaged: skipped images, by name with the reason.
        jpeg_quality: of the JPEG compression that each resized image went through, None without.
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
        """Return a digest of shape, pixels and labels, by which a resumed run recognises its data."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        digest.update(np.ascontiguousarray(self.images).data)
        digest.update(np.ascontiguousarray(self.labels).data)
        return digest.hexdigest()


def choose_labelled(labels: NDArray[np.int64], *, count: int, classes: int, seed: int) -> NDArray[np.int64]:
    """Choose at random which images keep their label, equally many per class.

    Args:
        labels: [N] the labels of all training images.
        count: total number of images to choose, a multiple of `classes`.
        classes: K.
        seed: other seeds choose other images.

    Returns:
        [count] indices into `labels`, class by class.

    Raises:
        DataError: if labels are missing or outside 0..K-1, `count` is not a multiple of `classes`, or a class has too
            few images.
    """
    if classes < 1:
        raise DataError(f"labels={count}, but the images have no labels; use data with labels")
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
            raise DataError(
                f"class {label} has {len(members)} images, but {each} labelled images per class were requested"
            )
        chosen.append(random.permutation(members)[:each])
    return np.concatenate(chosen)


def class_names(labels: NDArray[np.int64], names: tuple[str, ...], *, source: str) -> tuple[str, ...]:
    """Return the class names of labels: those given, else numbers; none for unlabelled images.

    Args:
        labels: [N].
        names: of the classes 0..K-1, empty if unknown.
        source: named in the error.

    Raises:
        DataError: if only some images have labels, or a label lies outside the classes.
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
