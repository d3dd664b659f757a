"""What scores need of a network that turns images into features."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from training.errors import ScoreError
from training.scores.names import ScoreNames


@dataclass(frozen=True, slots=True, eq=False)
class ExtractorOutput:
    """Features of N images, and their class probabilities; K is 0 if the extractor knows no classes."""

    features: NDArray[np.float32]  # [N, F]
    probabilities: NDArray[np.float32]  # [N, K]


class Extractor(Protocol):
    """The interface of extractors that scores need."""

    @property
    def sha256(self) -> str:
        """Identity of its weights."""

    @property
    def names(self) -> ScoreNames:
        """Names of the scores under these weights."""

    @property
    def image_shape(self) -> tuple[int, int, int] | None:
        """The required shape of images (H, W, C); None if any size, grey or colour, is accepted."""

    @property
    def features(self) -> int:
        """F, the number of features; a covariance needs more images than that."""

    @property
    def classes(self) -> int:
        """K, the number of classes and the upper bound of the classifier score; 0 without classes."""

    @property
    def facts(self) -> dict[str, Any]:
        """Further facts, as JSON values."""

    def treatment(self, image_shape: tuple[int, int, int]) -> str:
        """Return the preprocessing of images of a shape in a few words; `none` if there is none."""

    def __call__(self, images: NDArray[np.uint8], *, report: Callable[[int], None] = ...) -> ExtractorOutput:
        """Extract the features of images uint8 [N, H, W, C]; `report` is called with the number just done."""


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute in one thread, so that no bit depends on the machine: for networks too small to gain from more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def must_be_images(images: NDArray[np.uint8]) -> None:
    """Check that images of any size are uint8 [N, H, W, C] with N >= 1 and C 1 or 3.

    Raises:
        ScoreError: if they are not.
    """
    if images.ndim != 4 or 0 in images.shape or images.shape[3] not in (1, 3) or images.dtype != np.uint8:
        raise ScoreError(
            f"expected images uint8 [N, H, W, C] with N >= 1 and C 1 or 3, got {images.dtype} {list(images.shape)}"
        )
