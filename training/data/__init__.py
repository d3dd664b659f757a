"""Images with labels: the digits that ship with the project, IDX files, or a folder with a folder a class."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.data.folder import read_folder
from training.data.idx import is_idx_folder, read_split
from training.errors import DataError

Split = Literal["train", "test"]
DIGITS = Path(__file__).parent / "digits"


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images uint8 [N, H, W, C], labels int64 [N] in 0..K-1, the names of the K classes, and where they came from."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    name: str = "images"

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


def load(source: str | Path, split: Split) -> LabelledImages:
    """Load one split of a source.

    Args:
        source: "digits" for the bundled set, or a folder: with IDX files as MNIST has them, with `train` and `test`
            folders that hold a folder a class each, or (for training alone) with a folder a class.
        split: "train" or "test".

    Raises:
        DataError: naming the file or folder, if it is missing, empty or damaged.
    """
    folder = DIGITS if source == "digits" else Path(source)
    if not folder.is_dir():
        raise DataError(f"{folder} is no folder; give `digits` or a folder with IDX files or with a folder a class")
    if is_idx_folder(folder):
        images, labels = read_split(folder, split)
        return LabelledImages(images, labels, tuple(str(n) for n in range(int(labels.max()) + 1)), str(source))
    return LabelledImages(*read_folder(_split_folder(folder, split)), str(source))


def has_split(source: str | Path, split: Split) -> bool:
    """Say whether a source comes with that split; a bare folder of class folders has no test split."""
    folder = DIGITS if source == "digits" else Path(source)
    return split == "train" or is_idx_folder(folder) or (folder / split).is_dir()


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
        DataError: if `count` is no multiple of `classes`, or a class has too few images.
    """
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


def _split_folder(folder: Path, split: Split) -> Path:
    """Return the folder of class folders that holds a split."""
    if (folder / split).is_dir():
        return folder / split
    if split == "test" or (folder / "test").is_dir():
        raise DataError(f"{folder} has no {split} folder")
    return folder
