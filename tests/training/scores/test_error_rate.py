"""The errors of a classifier, counted."""

from __future__ import annotations

import numpy as np
import pytest

from training.errors import ScoreError
from training.scores.conditions import Conditions
from training.scores.error_rate import Mistake, error_rate


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

    assert str(errors) == (
        "93 errors of 10,000 images, 0.93%, 95 % interval 0.76% to 1.14% (seed 4, reference mnist test, resize none)"
    )


def test_what_was_taken_for_what_is_counted_the_most_frequent_first() -> None:
    labels, predicted = np.array([0, 0, 0, 1, 1, 2, 2, 2]), np.array([2, 1, 0, 1, 0, 0, 0, 2])

    errors = error_rate(predicted, labels, classes=3)

    assert errors.mistakes == (Mistake(2, 0, 2), Mistake(0, 1, 1), Mistake(0, 2, 1), Mistake(1, 0, 1))
    assert error_rate(labels, labels, classes=3).mistakes == ()


@pytest.mark.parametrize("wrong", [0, 1, 5, 20])
def test_the_interval_holds_the_rates_that_the_count_does_not_speak_against(wrong: int) -> None:
    labels = np.zeros(20, np.int64)
    errors = error_rate((np.arange(20) < wrong).astype(np.int64), labels, classes=2)

    low, high = errors.interval

    # Wilson's interval ends where the rate lies 1.96 deviations from the count, the deviation being that of the end.
    for end in (low, high):
        assert abs(errors.rate - end) == pytest.approx(1.959964 * (end * (1 - end) / 20) ** 0.5, abs=1e-6)
    assert 0 <= low <= errors.rate <= high <= 1


@pytest.mark.parametrize(
    ("predicted", "labels", "message"),
    [
        ([], [], "at least one"),
        ([1, 2], [1], r"got \[2\] and \[1\]"),
        ([[1], [2]], [[1], [2]], "as many predicted classes as labels"),
        ([3, 0], [0, 0], "a predicted class is not a whole number from 0 to 2"),
        ([0, 0], [0, -1], "a label is not a whole number from 0 to 2"),
        ([0.5, 0], [0, 1], "a predicted class is not a whole number"),
    ],
)
def test_what_cannot_be_counted_is_refused(predicted: list[int], labels: list[int], message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        error_rate(np.array(predicted), np.array(labels), classes=3)
