from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from training.neurons.measures import auroc, bootstrap_interval, calibrated


def test_auroc_counts_the_pairs_in_order() -> None:
    scores, positives = np.array([1.0, 3.0, 2.0, 4.0]), np.array([False, False, True, True])

    assert auroc(scores, positives) == 3 / 4


def test_auroc_counts_a_tie_half() -> None:
    assert auroc(np.zeros(5), np.array([True, False, True, False, False])) == 0.5
    assert auroc(np.array([0.0, 1.0, 1.0]), np.array([False, True, False])) == 0.75


def test_auroc_is_that_of_scikit_learn_with_many_ties() -> None:
    random = np.random.default_rng(0)
    scores, positives = random.integers(0, 9, 200).astype(float), random.random(200) < 0.3

    assert auroc(scores, positives) == pytest.approx(roc_auc_score(positives, scores))


def test_the_bootstrap_interval_is_that_of_a_binomial_share() -> None:
    correct = np.arange(400) % 4 > 0

    low, high = bootstrap_interval(correct, seed=1)

    deviation = np.sqrt(0.75 * 0.25 / 400)
    assert low == pytest.approx(0.75 - 1.96 * deviation, abs=0.005)
    assert high == pytest.approx(0.75 + 1.96 * deviation, abs=0.005)
    assert bootstrap_interval(correct, seed=1) == (low, high)


def test_the_bootstrap_interval_covers_the_truth_in_about_95_of_100_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.neurons.measures.DRAWS", 400)
    random = np.random.default_rng(0)

    intervals = [bootstrap_interval(random.random(100) < 0.8, seed=seed) for seed in range(100)]

    assert 88 <= sum(low <= 0.8 <= high for low, high in intervals) <= 99


def test_images_of_one_person_are_drawn_together() -> None:
    correct, groups = np.repeat([True, False], 50), np.arange(100) // 10

    alone, together = bootstrap_interval(correct, seed=1), bootstrap_interval(correct, groups=groups, seed=1)

    assert together[1] - together[0] > 2 * (alone[1] - alone[0])


def test_calibration_finds_the_logistic_curve_that_answers_were_drawn_from() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(3, 2, 20_000)
    positives = random.random(20_000) < 1 / (1 + np.exp(-(1.5 * scores - 4)))

    slope, intercept = calibrated(scores, positives)

    assert slope == pytest.approx(1.5, rel=0.05)
    assert intercept == pytest.approx(-4, rel=0.05)


def test_calibration_agrees_with_scikit_learn_on_platt_s_targets() -> None:
    random = np.random.default_rng(1)
    positives = np.repeat([True, False], [40, 60])
    scores = random.normal(np.where(positives, 1, 0), 1)
    targets = np.where(positives, 41 / 42, 1 / 62)
    twice = np.concatenate([scores, scores])[:, None]
    weights = np.concatenate([targets, 1 - targets])
    model = LogisticRegression(C=1e10, tol=1e-10).fit(twice, np.repeat([1, 0], 100), sample_weight=weights)

    assert calibrated(scores, positives) == pytest.approx((model.coef_[0, 0], model.intercept_[0]), rel=1e-3)


def test_scores_without_overlap_have_a_finite_slope() -> None:
    slope, intercept = calibrated(np.array([0.0, 1.0, 9.0, 10.0]), np.array([False, False, True, True]))

    assert 0 < slope < 10
    assert -intercept / slope == pytest.approx(5, abs=0.1)


def test_the_slope_stays_above_zero_where_larger_scores_mean_the_opposite() -> None:
    slope, _ = calibrated(np.array([10.0, 9.0, 1.0, 0.0]), np.array([False, False, True, True]))

    assert 0 < slope < 1e-4


def test_equal_scores_are_calibrated_to_the_share_of_positives() -> None:
    slope, intercept = calibrated(np.full(10, 3.0), np.arange(10) < 5)

    assert 1 / (1 + np.exp(-(3 * slope + intercept))) == pytest.approx(0.5, abs=0.01)
