"""Logistic regression by Newton's method: which of many numbers tell two classes apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PENALTY = 1.0  # half the square of each weight joins the sum of the losses
MAX_STEPS = 50
CLOSE = 1e-8  # a step that lowers the objective by a smaller share is the last


@dataclass(frozen=True, slots=True)
class Logistic:
    """A fit: p(positive) = sigmoid(weights (x - means) / deviations + intercept).

    Attributes:
        weights: float64 [F], for features of variance 1; 0 for a feature that is constant.
        intercept: Of features at their means.
        means: float64 [F].
        deviations: float64 [F]; 1 for a feature that is constant.
    """

    weights: NDArray[np.float64]
    intercept: float
    means: NDArray[np.float64]
    deviations: NDArray[np.float64]

    def scores(self, features: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the log odds [N] of features [N, F]."""
        found: NDArray[np.float64] = (features - self.means) / self.deviations @ self.weights + self.intercept
        return found

    def accuracy(self, features: NDArray[np.floating], positive: NDArray[np.bool_]) -> float:
        """Return the share of features [N, F] whose class is decided right."""
        return float(((self.scores(features) > 0) == positive).mean())


def fit_logistic(features: NDArray[np.floating], positive: NDArray[np.bool_], *, penalty: float = PENALTY) -> Logistic:
    """Fit a logistic regression, penalised by half the squared weights, not the intercept.

    Args:
        features: [N, F], finite.
        positive: [N], both classes present.
        penalty: At least 0 and above it for classes that can be separated.
    """
    means, spread = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    varies = spread > 1e-12 * np.abs(means).max(initial=1.0)
    deviations = np.where(varies, spread, 1.0)
    rows = np.where(varies, (features - means) / deviations, 0.0)
    rows = np.concatenate((rows, np.ones((len(rows), 1))), axis=1)  # [N, F + 1]
    ridge = np.full(rows.shape[1], penalty)
    ridge[-1] = 0.0
    weights = _minimised(rows, np.where(positive, 1.0, -1.0), ridge)
    return Logistic(np.where(varies, weights[:-1], 0.0), float(weights[-1]), means, deviations)


def _minimised(
    rows: NDArray[np.float64], signs: NDArray[np.float64], ridge: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Minimise sum log(1 + exp(-sign row w)) + ridge w^2 / 2 by Newton's steps, each halved until it helps."""
    weights = np.zeros(rows.shape[1])
    loss = _loss(rows, signs, ridge, weights)
    for _ in range(MAX_STEPS):
        odds = np.exp(-np.logaddexp(0.0, signs * (rows @ weights)))  # p of the wrong class, [N]
        slope = ridge * weights - rows.T @ (signs * odds)
        curvature = rows.T @ (rows * (odds * (1 - odds))[:, None]) + np.diag(ridge + 1e-10)
        step = np.linalg.solve(curvature, slope)
        for share in 0.5 ** np.arange(30):
            lower = _loss(rows, signs, ridge, weights - share * step)
            if lower <= loss:
                break
        else:
            break
        weights = weights - share * step
        if loss - lower <= CLOSE * loss:
            break
        loss = lower
    return weights


def _loss(
    rows: NDArray[np.float64],
    signs: NDArray[np.float64],
    ridge: NDArray[np.float64],
    weights: NDArray[np.float64],
) -> float:
    return float(np.logaddexp(0.0, -signs * (rows @ weights)).sum() + ridge @ weights**2 / 2)
