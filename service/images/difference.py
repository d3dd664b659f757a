"""How much images differ, by their pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def rms_differences(before: NDArray[np.uint8] | None, images: NDArray[np.uint8]) -> list[float]:
    """Return the root mean square difference of each image's pixels from those of the image before it.

    Args:
        before: What is before the first image, uint8 [H, W, C]; None if nothing is: it then differs by 0.
        images: uint8 [N, H, W, C].

    Returns: N numbers from 0 to 255.
    """
    first = images[:1] if before is None else before[None]
    rows = np.concatenate([first, images]).reshape(len(images) + 1, -1).astype(np.float32)
    steps = np.diff(rows, axis=0)
    distances: list[float] = np.sqrt(np.square(steps).mean(axis=1, dtype=np.float64)).tolist()
    return distances
