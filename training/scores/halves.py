"""Halves of real images: scored against each other they show what the scores of perfect samples look like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def two_halves(count: int, *, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Draw two disjoint halves of the rows 0 .. count - 1, equally large and each in order.

    Args:
        count: >= 2; of an odd number one row is in neither.
        seed: >= 0; equal seeds draw equal halves in all versions, since NumPy guarantees the raw stream.
    """
    order = np.argsort(np.random.Philox(key=seed).random_raw(count), kind="stable").astype(np.int64)
    half = count // 2
    return np.sort(order[:half]), np.sort(order[half : 2 * half])
