"""The errors of a classifier, counted."""

from __future__ import annotations

import numpy as np
import pytest

from training.errors import ScoreError
from training.scores.conditions import Conditions
from training.scores.error_rate import error_rate


def test_errors_are_counted_in_all_and_by_true_class() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 1, 3]), np.array([0, 1, 3, 1, 1, 0])

    errors = error_rate(predicted, labels, classes=4)

    assert (errors.errors, errors.images, errors.rate) == (3, 6, 0.5)
    assert errors.errors_by_class == (2, 0, 0, 1)
    assert errors.images_by_class == (3, 2, 0, 1)
    assert errors.rates_by_class == (2 / 3, 0.0, None, 1.0)


def test_the_text_reads_like_the_paper() -> None:
    labels = np.zeros(10_000, np.int64)
    predicted = labels.copy()
    predicted[:93] = 1

    errors = error_rate(predicted, labels, classes=10, seed=4, conditions=Conditions(reference="mnist test"))

    assert str(errors) == "93 errors of 10,000 images, 0.93% (seed 4, reference mnist test, resize none)"


@pytest.mark.parametrize(
    ("predicted", "labels", "message"),
    [
        ([], [], "at least one"),
        ([1, 2], [1], r"got \[2\] and \[1\]"),
        ([[1], [2]], [[1], [2]], "as many predicted classes as labels"),
        ([3, 0], [0, 0], "a predicted class is no whole number from 0 to 2"),
        ([0, 0], [0, -1], "a label is no whole number from 0 to 2"),
        ([0.5, 0], [0, 1], "a predicted class is no whole number"),
    ],
)
def test_what_cannot_be_counted_is_refused(predicted: list[int], labels: list[int], message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        error_rate(np.array(predicted), np.array(labels), classes=3)
