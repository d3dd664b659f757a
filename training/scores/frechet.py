"""The Frechet distance between two sets of features, each modelled as a normal distribution.

Dowson and Landau 1982; on features of images Heusel et al. 2017, section 3 (arXiv:1706.08500, eq. 6):
|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). It is not called FID, since that name stands for the ImageNet
network of 2015: distances over other features share only the formula.

    distance = frechet_distance(Moments.of(real), Moments.of(generated))          # all at once
    moments = joined({0: Moments.of(shard_0), 1: Moments.of(shard_1)})            # or by shards

The distance is biased: it is larger for fewer images, about F / N times a typical variance for two samples of the same
distribution. Compare only distances of equal numbers of images.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from training.errors import ScoreError
from training.scores.conditions import Conditions
from training.scores.distances import Float64s, Table, checked_features


@dataclass(frozen=True, slots=True, eq=False)
class Moments:
    """The distance's sums over part of the images, in float64; `+` joins disjoint parts.

    Attributes:
        count: N, images.
        total: [F] sum of the features.
        products: [F, F] sum of the outer products of each image's features.
    """

    count: int
    total: Float64s
    products: Float64s

    @classmethod
    def of(cls, features: Table, *, what: str = "the images") -> Moments:
        """Compute the sums of features [N, F], N >= 1.

        Raises:
            ScoreError: if the array is malformed or a number is not finite.
        """
        rows = checked_features(features, what)
        return cls(len(rows), rows.sum(axis=0), rows.T @ rows)

    def __add__(self, other: Moments) -> Moments:
        """Join two disjoint parts; in floating point the order decides the last bits (see `joined`)."""
        if self.total.shape != other.total.shape:
            raise ScoreError(f"moments of {len(self.total)} and of {len(other.total)} features cannot be joined")
        return Moments(self.count + other.count, self.total + other.total, self.products + other.products)

    @property
    def mean(self) -> Float64s:
        """Mean [F] of the features."""
        return self.total / self.count

    def covariance(self) -> Float64s:
        """Return the unbiased covariance [F, F]: divided by N - 1, as the published FID code does.

        Raises:
            ScoreError: if N <= F, where it is always singular.
        """
        if self.count <= len(self.total):
            raise ScoreError(
                f"{self.count} images are too few for {len(self.total)} features: their covariance is singular; "
                f"give at least {len(self.total) + 1}"
            )
        covariance: Float64s = (self.products - np.outer(self.mean, self.total)) / (self.count - 1)
        return covariance


@dataclass(frozen=True, slots=True, kw_only=True)
class FrechetDistance:
    """The distance, >= 0 and 0 only for equal means and covariances, in squared units of the features."""

    value: float
    real: int
    generated: int
    features: int
    conditions: Conditions

    def __str__(self) -> str:
        return (
            f"Frechet distance {self.value:.4f} ({self.generated:,} generated and {self.real:,} real images, "
            f"{self.features} features, unbiased covariance, {self.conditions})"
        )


def joined(parts: Mapping[int, Moments]) -> Moments:
    """Join the moments of shards in order of their numbers, so that the order of completion changes no bit.

    Args:
        parts: at least one, by shard number.

    Raises:
        ScoreError: if there are none, or they differ in F.
    """
    if not parts:
        raise ScoreError("there are no moments to join")
    return functools.reduce(operator.add, (parts[number] for number in sorted(parts)))


def frechet_distance(real: Moments, generated: Moments, *, conditions: Conditions | None = None) -> FrechetDistance:
    """Return the Frechet distance between the normal distributions with these moments.

    Raises:
        ScoreError: if they differ in F, or a set has no more images than features.
    """
    if real.total.shape != generated.total.shape:
        raise ScoreError(
            f"real images have {len(real.total)} features, but generated ones {len(generated.total)}; "
            "take both from one extractor"
        )
    difference = real.mean - generated.mean
    one, other = real.covariance(), generated.covariance()
    value = difference @ difference + np.trace(one) + np.trace(other) - 2 * _trace_of_root(one, other)
    return FrechetDistance(
        value=max(float(value), 0.0),  # rounding may put equal distributions just below 0
        real=real.count,
        generated=generated.count,
        features=len(real.total),
        conditions=conditions or Conditions(),
    )


def _trace_of_root(one: Float64s, other: Float64s) -> float:
    """Return tr (C1 C2)^(1/2) of two covariances.

    C1 C2 has the eigenvalues of C1^(1/2) C2 C1^(1/2), which is symmetric, so both steps need only `eigh`, which
    neither fails nor gives complex numbers for a nearly singular covariance.
    """
    values, vectors = np.linalg.eigh(one)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    product = root @ other @ root
    eigenvalues = np.linalg.eigvalsh((product + product.T) / 2)
    return float(np.sqrt(np.maximum(eigenvalues, 0)).sum())
