"""Centres of k-means: points that summarise images without generating any, as a reference for scores.

Mini-batch k-means, Sculley 2010 (Web-scale k-means clustering, algorithm 1): batch by batch, each image moves its
nearest centre by one over the number of images of that centre, so that a centre is the mean of its images.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import ScoreError
from training.scores.distances import blocks

BATCH = 2_000  # points per matrix product with the centres
EPOCHS = 1  # two more over MNIST's 50,000 images change the Parzen score of 10,000 centres by less than its error

Float32s = NDArray[np.float32]


def kmeans_centres(
    points: NDArray[np.floating[Any]] | NDArray[np.uint8],
    count: int,
    *,
    seed: int = 0,
    epochs: int = EPOCHS,
    report: Callable[[int], None] = lambda _: None,
) -> Float32s:
    """Return the centres of k-means.

    Args:
        points: [N, ...], at least `count`.
        count: K, the number of centres.
        seed: of the initial centres and the order, >= 0; equal seeds draw equally in all versions.
        epochs: passes over the points.
        report: called with the number of points just done, N times `epochs` in total.

    Returns:
        Centres [K, D].

    Raises:
        ScoreError: if there are fewer points than centres, or no centres.
    """
    if not 1 <= count <= len(points) or seed < 0:
        raise ScoreError(f"{len(points)} points cannot have {count} centres (seed {seed}); take fewer")
    rows = points.reshape(len(points), -1).astype(np.float32)
    words = np.random.Philox(key=seed)
    centres = rows[_order(words, len(rows))[:count]]
    seen = np.zeros(count, np.int64)
    for _ in range(epochs):
        order = _order(words, len(rows))
        for start in range(0, len(rows), BATCH):
            batch = rows[order[start : start + BATCH]]
            _pull(centres, seen, batch)
            report(len(batch))
    return centres


def nearest_centres(points: Float32s, centres: Float32s) -> NDArray[np.int64]:
    """Return the index [N] of the centre [K, D] nearest to each point [N, D]; the first of ties."""
    norms = np.einsum("kd,kd->k", centres, centres)
    found = np.empty(len(points), np.int64)
    for block in blocks(len(points), len(centres)):
        found[block] = (norms - 2 * (points[block] @ centres.T)).argmin(axis=1)  # |p|^2 is the same for all centres
    return found


def _pull(centres: Float32s, seen: NDArray[np.int64], batch: Float32s) -> None:
    """Move the centres by a batch of points, as if one by one, each by one over its centre's count."""
    nearest = nearest_centres(batch, centres)
    touched, place = np.unique(nearest, return_inverse=True)
    counts = np.bincount(place)
    sums = np.zeros((len(touched), batch.shape[1]), np.float32)
    np.add.at(sums, place, batch)
    before = seen[touched]
    seen[touched] += counts
    centres[touched] = (centres[touched] * before[:, None] + sums) / seen[touched][:, None]


def _order(words: np.random.Philox, count: int) -> NDArray[np.int64]:
    """Return 0..count-1 in the order of random words, which NumPy guarantees in all versions."""
    return np.argsort(words.random_raw(count), kind="stable")
