"""The errors of a classifier on test images: what semi-supervised training is judged by.

Salimans et al. 2016, table 1, counts the wrong ones of the 10,000 test images of MNIST, and gives mean and deviation
over ten draws of the labelled images. One count is one draw.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import ScoreError
from training.scores.conditions import Conditions


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRate:
    """How many images were assigned to a wrong class.

    Attributes:
        errors: wrong ones in all.
        images: how many were judged.
        errors_by_class: [K] wrong ones of each true class.
        images_by_class: [K] how many there are of each.
        seed: of the training, which chose the labelled images; None if unknown.
        conditions: what belongs beside the value.
    """

    errors: int
    images: int
    errors_by_class: tuple[int, ...]
    images_by_class: tuple[int, ...]
    seed: int | None
    conditions: Conditions

    @property
    def rate(self) -> float:
        """Share of wrong ones, in [0, 1]."""
        return self.errors / self.images

    @property
    def rates_by_class(self) -> tuple[float | None, ...]:
        """Share of wrong ones of each true class, None where there is no image of it."""
        pairs = zip(self.errors_by_class, self.images_by_class, strict=True)
        return tuple(errors / images if images else None for errors, images in pairs)

    def __str__(self) -> str:
        seed = "" if self.seed is None else f"seed {self.seed}, "
        return f"{self.errors:,} errors of {self.images:,} images, {self.rate:.2%} ({seed}{self.conditions})"


def error_rate(
    predicted: NDArray[np.integer[Any]],
    labels: NDArray[np.integer[Any]],
    *,
    classes: int,
    seed: int | None = None,
    conditions: Conditions | None = None,
) -> ErrorRate:
    """Count the images whose predicted class is not their label.

    Args:
        predicted: [N] classes, from 0 to K - 1.
        labels: [N] true classes, from 0 to K - 1.
        classes: K.
        seed: of the training.
        conditions: what belongs beside the value.

    Raises:
        ScoreError: if there are no images, the lengths differ, or a class is out of range.
    """
    if predicted.ndim != 1 or predicted.shape != labels.shape or len(labels) == 0:
        raise ScoreError(
            f"expected as many predicted classes as labels, at least one, got {list(predicted.shape)} and "
            f"{list(labels.shape)}"
        )
    for values, what in ((predicted, "predicted class"), (labels, "label")):
        if not np.issubdtype(values.dtype, np.integer) or values.min() < 0 or values.max() >= classes:
            raise ScoreError(f"a {what} is no whole number from 0 to {classes - 1}")
    wrong = labels[predicted != labels]
    return ErrorRate(
        errors=len(wrong),
        images=len(labels),
        errors_by_class=tuple(np.bincount(wrong, minlength=classes).tolist()),
        images_by_class=tuple(np.bincount(labels, minlength=classes).tolist()),
        seed=seed,
        conditions=conditions or Conditions(),
    )
