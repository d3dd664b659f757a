"""Distances between many points, and checks of their arrays."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import ScoreError

Table = NDArray[np.floating[Any]]
Float64s = NDArray[np.float64]

BLOCK_CELLS = 2**20  # numbers per block of distances, 8 MiB
ROUNDING = 1e-12  # relative to |a|^2 + |b|^2; smaller squared distances are rounding errors of equal points


def checked_features(features: Table, what: str) -> Float64s:
    """Return features [N, F] as float64.

    Args:
        features: [N, F] with N and F >= 1, all finite.
        what: name of the rows in errors.

    Raises:
        ScoreError: if the shape is wrong or a number is not finite.
    """
    if features.ndim != 2 or 0 in features.shape:
        raise ScoreError(f"expected features [N, F] of {what} with N and F >= 1, got {list(features.shape)}")
    rows = features.astype(np.float64)
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ScoreError(f"features of image {int(finite.argmin())} of {what} are not finite")
    return rows


def checked_pair(real: Table, generated: Table, *, at_least: int) -> tuple[Float64s, Float64s]:
    """Return two sets of features [N, F] and [M, F] as float64.

    Raises:
        ScoreError: if one is malformed or has fewer rows than `at_least`, or they differ in F.
    """
    pair = checked_features(real, "real images"), checked_features(generated, "generated images")
    if pair[0].shape[1] != pair[1].shape[1]:
        raise ScoreError(f"real images have {pair[0].shape[1]} features, but generated ones {pair[1].shape[1]}")
    for rows, what in zip(pair, ("real", "generated"), strict=True):
        if len(rows) < at_least:
            raise ScoreError(f"{len(rows)} {what} images are too few; give at least {at_least}")
    return pair


def squared_distances(one: Float64s, other: Float64s) -> Float64s:
    """Return |a - b|^2 [N, M] for every row a of `one` [N, F] and b of `other` [M, F]; equal rows are exactly 0.

    Computed as |a|^2 + |b|^2 - 2 a b, one matrix product; exact for integers such as pixels.
    """
    norms = np.einsum("nf,nf->n", one, one)[:, None] + np.einsum("mf,mf->m", other, other)  # [N, M]
    distances: Float64s = one @ other.T
    distances *= -2
    distances += norms
    norms *= ROUNDING
    distances[distances < norms] = 0
    return distances


def blocks(count: int, width: int) -> Iterator[slice]:
    """Split `count` rows into blocks whose distances to `width` points are at most BLOCK_CELLS numbers."""
    size = max(1, BLOCK_CELLS // width)
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
