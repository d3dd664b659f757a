"""The errors of a classifier on test images, the measure of semi-supervised training.

Salimans et al. 2016, table 1, counts the errors on MNIST's 10,000 test images, and gives mean and deviation over ten
draws of labelled images. One count is one draw: its interval covers the finite number of test images, not the choice
of labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import ScoreError
from training.scores.conditions import Conditions

NORMAL_95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


@dataclass(frozen=True, slots=True)
class Mistake:
    """The number of images of one class predicted as another; classes are 0 to K - 1."""

    label: int
    predicted: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRate:
    """The number of misclassified images.

    Attributes:
        errors: total number of errors.
        images: number of images.
        errors_by_class: [K] errors per true class.
        images_by_class: [K] images per true class.
        mistakes: pairs of true and predicted class, most frequent first; their counts sum to `errors`.
        seed: of the training, which chose the labelled images; None if unknown.
        conditions: of the measurement.
    """

    errors: int
    images: int
    errors_by_class: tuple[int, ...]
    images_by_class: tuple[int, ...]
    mistakes: tuple[Mistake, ...]
    seed: int | None
    conditions: Conditions

    @property
    def rate(self) -> float:
        """The error rate, in [0, 1]."""
        return self.errors / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval in [0, 1], Wilson 1927, which is valid near 0 too."""
        weight = NORMAL_95**2 / self.images
        centre = (self.rate + weight / 2) / (1 + weight)
        reach = math.sqrt(weight * self.rate * (1 - self.rate) + weight**2 / 4) / (1 + weight)
        return max(centre - reach, 0.0), min(centre + reach, 1.0)

    @property
    def rates_by_class(self) -> tuple[float | None, ...]:
        """The error rate of each true class, None for a class without images."""
        pairs = zip(self.errors_by_class, self.images_by_class, strict=True)
        return tuple(errors / images if images else None for errors, images in pairs)

    def __str__(self) -> str:
        seed = "" if self.seed is None else f"seed {self.seed}, "
        low, high = self.interval
        return (
            f"{self.errors:,} errors of {self.images:,} images, {self.rate:.2%}, 95 % interval {low:.2%} to {high:.2%} "
            f"({seed}{self.conditions})"
        )


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
        conditions: of the measurement.

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
            raise ScoreError(f"a {what} is not a whole number from 0 to {classes - 1}")
    wrong = labels[predicted != labels]
    return ErrorRate(
        errors=len(wrong),
        images=len(labels),
        errors_by_class=tuple(np.bincount(wrong, minlength=classes).tolist()),
        images_by_class=tuple(np.bincount(labels, minlength=classes).tolist()),
        mistakes=_mistakes(predicted, labels),
        seed=seed,
        conditions=conditions or Conditions(),
    )


def _mistakes(predicted: NDArray[np.integer[Any]], labels: NDArray[np.integer[Any]]) -> tuple[Mistake, ...]:
    """Count pairs of true and predicted class, most frequent first, ties by class."""
    wrong = predicted != labels
    pairs, counts = np.unique(np.stack([labels[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True)
    found = [
        Mistake(label, guess, count) for (label, guess), count in zip(pairs.tolist(), counts.tolist(), strict=True)
    ]
    return tuple(sorted(found, key=lambda mistake: -mistake.count))
