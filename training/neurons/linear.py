"""Logistic regression, folds and k-means by scikit-learn, an extra."""

from __future__ import annotations

import importlib
from typing import Any

from training.errors import RunError


def logistic(*, cost: float = 1.0, quadratic: bool = False, balanced: bool = False) -> Any:
    """Return an unfitted logistic regression of standardised features; scikit-learn carries no types.

    Args:
        cost: inverse weight of the squared norm.
        quadratic: whether to add squares and products of the features.
        balanced: whether both classes get equal weight.

    Raises:
        RunError: if scikit-learn is not installed.
    """
    pipeline, scaled = (_module(name) for name in ("pipeline", "preprocessing"))
    model = _module("linear_model").LogisticRegression(
        C=cost, max_iter=3000, class_weight="balanced" if balanced else None
    )
    squares = [scaled.PolynomialFeatures(2, include_bias=False), scaled.StandardScaler()] if quadratic else []
    return pipeline.make_pipeline(scaled.StandardScaler(), *squares, model)


def folds(count: int, *, seed: int) -> Any:
    """Return a splitter for cross-validation: stratified, with no group in two parts."""
    return _module("model_selection").StratifiedGroupKFold(count, shuffle=True, random_state=seed % 2**32)


def kmeans(count: int, *, seed: int) -> Any:
    """Return an unfitted k-means of `count` centres, fitted batch by batch."""
    return _module("cluster").MiniBatchKMeans(count, random_state=seed % 2**32, batch_size=2048, n_init=1)


def _module(name: str) -> Any:
    try:
        return importlib.import_module(f"sklearn.{name}")
    except ImportError:
        raise RunError("the search for neurons needs scikit-learn; get it with: ./mint extra neurons") from None
