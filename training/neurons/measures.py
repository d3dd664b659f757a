"""How well a score separates positives from distractors: confidence intervals, AUROC, calibration."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000  # of a bootstrap; the 2.5 % quantile then rests on 50 of them
NEWTON_STEPS = 100
MIN_SLOPE = 1e-6  # for scores of unit deviation; keeps the calibrated slope positive


def auroc(scores: NDArray[np.floating[Any]], positives: NDArray[np.bool_]) -> float:
    """Return the probability in [0, 1] that a positive scores above a distractor; ties count half.

    It is Mann and Whitney's statistic (1947), divided by the number of pairs.

    Args:
        scores: [N].
        positives: bool [N], with some of each kind.
    """
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # from 1; the mean over ties
    shown = int(positives.sum())
    above = ranks[places][positives].sum() - shown * (shown + 1) / 2
    return float(above / (shown * (len(scores) - shown)))


def bootstrap_interval(
    correct: NDArray[np.bool_], *, groups: NDArray[np.int64] | None = None, seed: int
) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean, Efron 1979.

    Args:
        correct: bool [N], whether each decision was correct.
        groups: [N]; whole groups are drawn, since images of one person are alike. By default each image is a group.
        seed: of the bootstrap.
    """
    _, groups = np.unique(np.arange(len(correct)) if groups is None else groups, return_inverse=True)
    right, images = np.bincount(groups, weights=correct), np.bincount(groups)
    random = np.random.default_rng([seed, 4])
    means = np.empty(DRAWS)
    for draw in range(DRAWS):
        times = np.bincount(random.integers(0, len(images), len(images)), minlength=len(images))
        means[draw] = times @ right / (times @ images)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def calibrated(scores: NDArray[np.floating[Any]], positives: NDArray[np.bool_]) -> tuple[float, float]:
    """Fit p(positive) = 1 / (1 + exp(-(slope score + intercept))), Platt 1999, by Newton's method.

    Targets are Platt's, slightly inside (0, 1), so that the slope stays finite for separable scores.

    Args:
        scores: [N], larger for positives.
        positives: bool [N], with some of each kind.

    Returns: slope > 0, and intercept. The slope is almost 0 if larger scores do not mean positives.
    """
    shown, others = int(positives.sum()), int((~positives).sum())
    targets = np.where(positives, (shown + 1) / (shown + 2), 1 / (others + 2))
    mean, deviation = float(scores.mean()), float(scores.std()) or 1.0
    design = np.stack([(scores.astype(np.float64) - mean) / deviation, np.ones(len(scores))], axis=1)
    slope, intercept = _newton(design, targets)
    if slope < MIN_SLOPE:
        slope, intercept = MIN_SLOPE, float(np.log(targets.mean() / (1 - targets.mean())))
    return slope / deviation, intercept - slope * mean / deviation


def _newton(design: NDArray[np.float64], targets: NDArray[np.float64]) -> tuple[float, float]:
    """Minimise the cross entropy of a logistic curve; a step that does not lower it is halved."""
    weights = np.array([0.0, np.log(targets.mean() / (1 - targets.mean()))])

    def loss(at: NDArray[np.float64]) -> float:
        logits = design @ at
        return float(np.logaddexp(0, logits).sum() - targets @ logits)

    for _ in range(NEWTON_STEPS):
        shares = 0.5 * (1 + np.tanh(design @ weights / 2))
        curvature = design.T @ (design * (shares * (1 - shares))[:, None]) + 1e-9 * np.eye(2)
        step = np.linalg.solve(curvature, design.T @ (targets - shares))
        while loss(weights + step) > loss(weights) and np.abs(step).max() > 1e-10:
            step /= 2
        weights = weights + step
        if np.abs(step).max() <= 1e-10:
            break
    return float(weights[0]), float(weights[1])
