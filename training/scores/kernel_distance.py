"""The kernel distance: the formula of KID over the features of any extractor.

Binkowski et al. 2018 (arXiv:1801.01401): the unbiased squared maximum mean discrepancy with the kernel
k(x, y) = (x y / F + 1)^3, averaged over random subsets. Unbiased, unlike the Frechet distance: fewer images make it
noisier but not larger, and it may be slightly negative for equal distributions. It is not called KID, since that name
stands for the ImageNet network of 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.errors import ScoreError
from training.progress import Report
from training.scores.conditions import Conditions
from training.scores.distances import Float64s, Table, checked_pair

SUBSETS = 100  # as in the published code
SUBSET_SIZE = 1000  # images, as in the published code


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelDistance:
    """Mean and standard deviation (ddof = 0) of the unbiased MMD^2 over the subsets."""

    mean: float
    std: float
    real: int
    generated: int
    subsets: int
    subset_size: int
    seed: int
    conditions: Conditions

    def __str__(self) -> str:
        return (
            f"kernel distance {self.mean:.6f} +- {self.std:.6f} ({self.generated:,} generated and {self.real:,} real "
            f"images, {self.subsets} subsets of {self.subset_size:,}, seed {self.seed}, {self.conditions})"
        )


def kernel_distance(
    real: Table,
    generated: Table,
    *,
    subsets: int = SUBSETS,
    subset_size: int = SUBSET_SIZE,
    seed: int = 0,
    conditions: Conditions | None = None,
    report: Report = lambda _: None,
) -> KernelDistance:
    """Return the kernel distance between two sets of features.

    Args:
        real: [N, F] features of real images.
        generated: [M, F] features of generated images.
        subsets: number of pairs of random subsets, >= 1.
        subset_size: images per subset, from 2 to min(N, M), drawn without replacement.
        seed: of the subsets, >= 0; equal seeds draw equal subsets in all versions.
        conditions: of the measurement, stored with the result.
        report: called with the number of pairs of images just compared.

    Raises:
        ScoreError: if an array is malformed or too short, or an argument is out of range.
    """
    if subsets < 1 or subset_size < 2 or seed < 0:
        raise ScoreError(
            f"expected subsets >= 1, subset_size >= 2 and seed >= 0, got {subsets}, {subset_size} and {seed}"
        )
    one, other = checked_pair(real, generated, at_least=subset_size)
    words = np.random.Philox(key=seed)
    values = []
    for _ in range(subsets):
        subset = one[_subset(words, len(one), subset_size)]
        values.append(squared_discrepancy(subset, other[_subset(words, len(other), subset_size)]))
        report(3 * subset_size**2)
    return KernelDistance(
        mean=float(np.mean(values)),
        std=float(np.std(values)),
        real=len(one),
        generated=len(other),
        subsets=subsets,
        subset_size=subset_size,
        seed=seed,
        conditions=conditions or Conditions(),
    )


def squared_discrepancy(one: Float64s, other: Float64s) -> float:
    """Return the unbiased MMD^2 between two sets, Gretton et al. 2012, eq. 3, without pairs of an image with itself.

    Args:
        one: [N, F], N >= 2.
        other: [M, F], M >= 2.
    """
    return _mean_of_pairs(one) + _mean_of_pairs(other) - 2 * float(_kernel(one, other).mean())


def _kernel(one: Float64s, other: Float64s) -> Float64s:
    """Return k(x, y) = (x y / F + 1)^3 of every pair of rows, [N, M]."""
    base: Float64s = one @ other.T
    base /= one.shape[1]
    base += 1
    kernel = base * base  # two products are far faster than ** 3
    kernel *= base
    return kernel


def _mean_of_pairs(rows: Float64s) -> float:
    """Return the mean of k over pairs of different rows."""
    kernel, count = _kernel(rows, rows), len(rows)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))


def _subset(words: np.random.Philox, count: int, size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Draw `size` of `count` rows by the smallest random words, which NumPy guarantees in all versions."""
    return np.argsort(words.random_raw(count), kind="stable")[:size]
