"""A reproducible subset of many images, for scores whose cost grows with the square of their number."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 20  # random words drawn at a time, 8 MB


def chosen_images(count: int, most: int, *, seed: int = 0) -> NDArray[np.int64]:
    """Choose `most` of `count` images, or all, by the smallest random words, in memory independent of `count`.

    NumPy guarantees Philox's words, so equal arguments choose equal images in all versions.

    Args:
        count: images, >= 0.
        most: largest number of images to choose, >= 1.
        seed: of the words, >= 0.

    Returns:
        Their indices, ascending.
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
