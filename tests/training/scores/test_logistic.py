"""Logistic regression finds the optimum, and what tells two classes apart."""

from __future__ import annotations

import numpy as np
import pytest

from training.scores.logistic import fit_logistic

RANDOM = np.random.default_rng(0)


def test_the_gradient_vanishes_at_the_fit() -> None:
    features = RANDOM.normal(size=(200, 5)) * [1, 10, 0.1, 3, 1] + [0, 5, 0, -2, 1]
    positive = features[:, 0] + RANDOM.normal(size=200) > 0

    fit = fit_logistic(features, positive, penalty=2.0)

    rows = (features - features.mean(axis=0)) / features.std(axis=0)
    wrong = positive - 1 / (1 + np.exp(-(rows @ fit.weights + fit.intercept)))
    np.testing.assert_allclose(rows.T @ wrong, 2.0 * fit.weights, atol=1e-4)
    assert abs(wrong.sum()) < 1e-4
    np.testing.assert_allclose(fit.scores(features), rows @ fit.weights + fit.intercept)


def test_what_tells_the_classes_apart_has_the_largest_weight_and_what_is_constant_none() -> None:
    positive = np.arange(100) % 2 == 0
    features = np.stack([RANDOM.normal(size=100), np.full(100, 7.0), 5.0 * positive, -0.1 * positive], axis=1)

    fit = fit_logistic(features, positive)

    assert fit.weights[1] == 0
    assert fit.weights[2] > abs(fit.weights[0]) and fit.weights[3] == pytest.approx(-fit.weights[2])
    assert fit.accuracy(features, positive) == 1.0


def test_more_features_than_rows_can_be_fitted() -> None:
    features = RANDOM.normal(size=(10, 40)).astype(np.float32)

    fit = fit_logistic(features, features[:, 3] > 0)

    assert np.isfinite(fit.weights).all()
    assert fit.accuracy(features, features[:, 3] > 0) == 1.0
