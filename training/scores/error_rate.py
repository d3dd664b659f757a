"""The errors of a classifier on test images: what semi-supervised training is judged by.

Salimans et al. 2016, table 1, counts the wrong ones of the 10,000 test images of MNIST, and gives mean and deviation
over ten draws of the labelled images. One count is one draw: its interval says how far the same classifier may be from
its true rate, for want of test images, and nothing of what another draw of labels would give.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import ScoreError
from training.scores.conditions import Conditions

NORMAL_95 = 1.959963984540054  # 97.5 % of a standard normal distribution lie below


@dataclass(frozen=True, slots=True)
class Mistake:
    """Images of one class that were taken for another: both from 0 to K - 1, and how many there are."""

    label: int
    predicted: int
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorRate:
    """How many images were assigned to a wrong class.

    Attributes:
        errors: wrong ones in all.
        images: how many were judged.
        errors_by_class: [K] wrong ones of each true class.
        images_by_class: [K] how many there are of each.
        mistakes: what was taken for what, the most frequent first; their counts sum to `errors`.
        seed: of the training, which chose the labelled images; None if unknown.
        conditions: what belongs beside the value.
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
        """Share of wrong ones, in [0, 1]."""
        return self.errors / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The rates that 95 % confidence leaves, in [0, 1]: Wilson 1927, whose interval holds at rates near 0 too."""
        weight = NORMAL_95**2 / self.images
        centre = (self.rate + weight / 2) / (1 + weight)
        reach = math.sqrt(weight * self.rate * (1 - self.rate) + weight**2 / 4) / (1 + weight)
        return max(centre - reach, 0.0), min(centre + reach, 1.0)

    @property
    def rates_by_class(self) -> tuple[float | None, ...]:
        """Share of wrong ones of each true class, None where there is no image of it."""
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
        mistakes=_mistakes(predicted, labels),
        seed=seed,
        conditions=conditions or Conditions(),
    )


def _mistakes(predicted: NDArray[np.integer[Any]], labels: NDArray[np.integer[Any]]) -> tuple[Mistake, ...]:
    """Count what was taken for what, the most frequent first, equally frequent ones by class."""
    wrong = predicted != labels
    pairs, counts = np.unique(np.stack([labels[wrong], predicted[wrong]], axis=1), axis=0, return_counts=True)
    found = [
        Mistake(label, guess, count) for (label, guess), count in zip(pairs.tolist(), counts.tolist(), strict=True)
    ]
    return tuple(sorted(found, key=lambda mistake: -mistake.count))
