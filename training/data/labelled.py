"""Images with or without labels, the result of loading any source."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.data.report import PassedOver, Report
from training.errors import DataError

Split = Literal["train", "test"]
UNLABELLED = -1  # label of an image without one
MAX_CLASSES = 100_000  # of a source without class names; larger labels are taken for damage
BEYOND_LIMIT = "images beyond the limit, which takes the first of each class in turn"
BETWEEN_LIMIT = "images beyond the limit, which takes some at even distances, for want of labels"


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
        passed_over: what of the source was not read, and why; damaged images are among it.
        text_labels: whether the classes are the texts that the source has for labels.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    name: str = "images"
    damaged: tuple[str, ...] = ()
    jpeg_quality: int | None = None
    passed_over: tuple[PassedOver, ...] = ()
    text_labels: bool = False

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


def with_names(
    labels: NDArray[np.int64], names: tuple[str, ...], *, source: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels and the names of their classes.

    Without names, the classes are the numbers that occur: labels 0 and 5 are two classes, "0" and "5", not six.

    Args:
        labels: [N].
        names: of the classes 0..K-1, empty if unknown.
        source: named in the error.

    Returns:
        [N] labels in 0..K-1, and K names; no names for unlabelled images.

    Raises:
        DataError: if only some images have labels, a label lies outside the classes, or a name cannot be written.
    """
    low, high = int(labels.min()), int(labels.max())
    if high == low == UNLABELLED:
        return labels, ()
    if low < 0:
        bare = int((labels < 0).sum())
        raise DataError(f"{source}: {bare} of {len(labels)} images have no label; give every image one, or none")
    if high >= (len(names) or MAX_CLASSES):
        raise DataError(f"{source}: the label {high} lies outside 0..{(len(names) or MAX_CLASSES) - 1}, the classes")
    if names:
        check_names(names, source=source)
        return labels, names
    numbers, places = np.unique(labels, return_inverse=True)
    return places.astype(np.int64), tuple(str(number) for number in numbers)


def check_names(names: tuple[str, ...], *, source: str) -> None:
    """Refuse names of classes that a run, its card or a terminal cannot hold.

    Raises:
        DataError: if one is empty, twice there, or has control characters or bytes that are not UTF-8.
    """
    for name in names:
        if not name or not name.isprintable():
            raise DataError(f"{source}: the class {name!a} has a name that is not printable text in UTF-8; rename it")
    twice = next((name for name in names if names.count(name) > 1), None) if len(set(names)) < len(names) else None
    if twice is not None:
        raise DataError(f"{source}: two classes are called {twice}; give each a name of its own")


def with_classes(images: LabelledImages, classes: tuple[str, ...]) -> LabelledImages:
    """Return images whose labels count in a longer list of classes, which has theirs."""
    if images.classes == classes:
        return images
    places = np.array([classes.index(name) for name in images.classes], np.int64)
    return dataclasses.replace(images, labels=places[images.labels], classes=classes)


def common_classes(parts: Sequence[LabelledImages]) -> tuple[str, ...]:
    """Return the classes of all parts if one part has them all, else ()."""
    longest = max((part.classes for part in parts), key=len)
    known = set(longest)
    return longest if all(part.classes and known.issuperset(part.classes) for part in parts) else ()


def limited(values: Sequence[int | str] | NDArray[np.int64], limit: int | None, report: Report) -> NDArray[np.int64]:
    """Choose images of a split, so that sorted data gives some of everything.

    Labelled images are the first ones of each class in turn; without labels they stand at even distances, the first
    image among them.

    Args:
        values: [N] labels, numbers or texts; images without one are a class of their own.
        limit: largest number of images, None for all.
        report: is told how many were left out.

    Returns:
        [min(N, limit)] places in `values`, in order.
    """
    count = len(values)
    if limit is None or count <= limit:
        return np.arange(count)
    labels = np.unique(np.asarray(values), return_inverse=True)[1]
    if all(value == UNLABELLED for value in values):
        report.pass_over(BETWEEN_LIMIT, count=count - limit)
        return np.arange(limit) * count // limit
    report.pass_over(BEYOND_LIMIT, count=count - limit)
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], labels[order], side="left")
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels)) - starts  # within each class
    return np.sort(np.lexsort((labels, ranks))[:limit])
