"""A fixed choice of some of many images, for scores whose cost grows with the square of their number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 20  # random words that are drawn at a time


def chosen_images(count: int, most: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Choose `most` of `count` images, or all: those with the smallest random words. Memory does not grow with count.

    NumPy promises the words of Philox, so the same numbers choose the same images for ever.

    Args:
        count: images, >= 0.
        most: how many to choose at most, >= 1.
        seed: of the words, >= 0.

    Returns:
        Their indices in order.
    """
    if count <= most:
        return np.arange(count, dtype=np.int64)
    source = np.random.Philox(key=seed)
    words, indices = np.empty(0, np.uint64), np.empty(0, np.int64)
    for start in range(0, count, BLOCK):
        size = min(BLOCK, count - start)
        words = np.concatenate([words, source.random_raw(size)])
        indices = np.concatenate([indices, np.arange(start, start + size, dtype=np.int64)])
        smallest = np.argsort(words, kind="stable")[:most]
        words, indices = words[smallest], indices[smallest]
    return np.sort(indices)
