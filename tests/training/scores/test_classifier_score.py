"""The classifier score against closed forms, and its sums over shards."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from numpy.typing import NDArray

from training.errors import ScoreError
from training.scores.classifier_score import ScoreSums, classifier_score


def random_probabilities(count: int = 1003, classes: int = 7, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).dirichlet(np.full(classes, 0.3), count)


def one_hot(count: int, classes: int) -> NDArray[np.float64]:
    return np.eye(classes)[np.arange(count) % classes]


def direct_score(probabilities: NDArray[np.float64], splits: int) -> tuple[float, float]:
    """The formula as it is written, split by split."""
    values = []
    for number in range(splits):
        part = probabilities[number * len(probabilities) // splits : (number + 1) * len(probabilities) // splits]
        values.append(math.exp((part * (np.log(part) - np.log(part.mean(0)))).sum(1).mean()))
    return float(np.mean(values)), float(np.std(values))


def test_uniform_probabilities_score_one() -> None:
    score = classifier_score(np.full((50, 10), 0.1))

    assert score.mean == pytest.approx(1.0, abs=1e-9)
    assert score.std == pytest.approx(0.0, abs=1e-9)


def test_certain_and_balanced_probabilities_score_the_number_of_classes() -> None:
    score = classifier_score(one_hot(200, 10))

    assert score.mean == pytest.approx(10.0, abs=1e-9)


def test_certain_probabilities_of_one_class_score_one() -> None:
    assert classifier_score(np.eye(10)[np.zeros(30, int)]).mean == pytest.approx(1.0, abs=1e-9)


def test_the_spread_over_splits_divides_by_their_number() -> None:
    varied, constant = one_hot(4, 2), np.eye(2)[np.zeros(4, int)]

    score = classifier_score(np.concatenate([varied, constant]), splits=2)  # 2 and 1

    assert (score.mean, score.std) == pytest.approx((1.5, 0.5))


def test_the_score_is_the_formula_split_by_split() -> None:
    probabilities = random_probabilities()

    score = classifier_score(probabilities, splits=10)

    assert (score.mean, score.std) == pytest.approx(direct_score(probabilities, 10), rel=1e-9)


@pytest.mark.parametrize("cuts", [[], [500], [1, 2, 3], [100, 200, 201, 999], list(range(1, 1003))])
def test_any_cut_into_shards_gives_the_same_bits(cuts: list[int]) -> None:
    probabilities = random_probabilities()
    bounds = [0, *cuts, len(probabilities)]

    shards = [
        ScoreSums.of(probabilities[start:end], first=start, total=len(probabilities))
        for start, end in itertools.pairwise(bounds)
    ]
    joined = sum(shards[:0:-1], start=shards[0])  # in another order than they were cut

    assert joined.score() == classifier_score(probabilities)


def test_sums_survive_json() -> None:
    sums = ScoreSums.of(random_probabilities(), first=0, total=1003)

    assert ScoreSums.from_dict(json.loads(json.dumps(sums.to_dict()))) == sums


def test_half_precision_probabilities_are_fine() -> None:
    probabilities = random_probabilities().astype(np.float32)

    assert classifier_score(probabilities).mean == pytest.approx(
        classifier_score(random_probabilities()).mean, rel=1e-5
    )


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        (one_hot(9, 3), "9 images cannot be cut into 10 splits"),
        (np.zeros((0, 3)), "no images"),
        (np.zeros(30), "expected probabilities"),
        (np.full((20, 2), np.nan), "image 0 are not finite"),
        (np.full((20, 2), 0.4), "image 0 sum to 0.8, not 1"),
        (np.tile([2.0, -1.0], (20, 1)), "not logits"),
    ],
)
def test_what_is_not_a_table_of_probabilities_is_refused(probabilities: NDArray[np.float64], message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        classifier_score(probabilities)


def test_a_missing_shard_is_noticed() -> None:
    probabilities = random_probabilities()

    with pytest.raises(ScoreError, match="a shard is missing"):
        ScoreSums.of(probabilities[:1000], first=0, total=1003).score()


def test_a_shard_beyond_the_end_is_refused() -> None:
    with pytest.raises(ScoreError, match="do not lie in 0 to 100"):
        ScoreSums.of(random_probabilities(50), first=60, total=100)


def test_sums_of_different_scores_are_not_added() -> None:
    one = ScoreSums.of(random_probabilities(20), first=0, total=40)
    other = ScoreSums.of(random_probabilities(20), first=20, total=50)

    with pytest.raises(ScoreError, match="cannot be added"):
        one + other


def test_sums_that_are_no_sums_are_refused() -> None:
    with pytest.raises(ScoreError, match="not the sums of a classifier score"):
        ScoreSums.from_dict({"total": 3})
