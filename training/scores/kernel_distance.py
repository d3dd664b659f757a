"""The kernel distance: the formula of KID over the features of any extractor.

Binkowski et al. 2018 (arXiv:1801.01401): the unbiased squared maximum mean discrepancy with the kernel
k(x, y) = (x y / F + 1)^3, averaged over random subsets. Unbiased, unlike the Frechet distance: fewer images make it
noisier but not larger, and it may fall just below 0 where the distributions agree. It is not called KID, for that name
belongs to the ImageNet network of 2015.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.errors import ScoreError
from training.scores.conditions import Conditions
from training.scores.distances import Float64s, Table, checked_pair

SUBSETS = 100
SUBSET_SIZE = 1000


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
) -> KernelDistance:
    """Return the kernel distance between two sets of features.

    Args:
        real: [N, F] features of real images.
        generated: [M, F] features of generated images.
        subsets: how many pairs of random subsets are compared, >= 1.
        subset_size: images in each, from 2 to min(N, M), drawn without repetition.
        seed: of the subsets, >= 0; the same seed draws the same subsets for ever.
        conditions: what belongs beside the result.

    Raises:
        ScoreError: if a table is no such table or too short, or a number is out of its range.
    """
    if subsets < 1 or subset_size < 2 or seed < 0:
        raise ScoreError(
            f"expected subsets >= 1, subset_size >= 2 and seed >= 0, got {subsets}, {subset_size} and {seed}"
        )
    one, other = checked_pair(real, generated, at_least=subset_size)
    words = np.random.Philox(key=seed)
    values = [
        squared_discrepancy(one[_subset(words, len(one), subset_size)], other[_subset(words, len(other), subset_size)])
        for _ in range(subsets)
    ]
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
    """Return the unbiased MMD^2 between two sets, Gretton et al. 2012, eq. 3: no image is compared with itself.

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
    kernel = base * base  # twice a product, which is far faster than ** 3
    kernel *= base
    return kernel


def _mean_of_pairs(rows: Float64s) -> float:
    """Return the mean of k over the pairs of different rows."""
    kernel, count = _kernel(rows, rows), len(rows)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))


def _subset(words: np.random.Philox, count: int, size: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Draw `size` of `count` rows: those with the smallest random words, which NumPy promises to stay the same."""
    return np.argsort(words.random_raw(count), kind="stable")[:size]
