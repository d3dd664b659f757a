"""How much images differ, by their pixels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

BLOCK = 2**15  # pixels whose squared differences an int32 can add up


def rms_differences(before: NDArray[np.uint8] | None, images: NDArray[np.uint8]) -> list[float]:
    """Return the root mean square difference of each image's pixels from those of the image before it.

    Args:
        before: What is before the first image, uint8 [H, W, C]; None if nothing is: it then differs by 0.
        images: uint8 [N, H, W, C].

    Returns: N numbers from 0 to 255.
    """
    first = images[:1] if before is None else before[None]
    rows = np.concatenate([first, images]).reshape(len(images) + 1, -1)
    steps = rows[1:].astype(np.int16)
    steps -= rows[:-1]
    squares = np.zeros(len(images), np.int64)
    for start in range(0, steps.shape[1], BLOCK):
        block = steps[:, start : start + BLOCK].astype(np.int32)
        squares += np.einsum("ij,ij->i", block, block)
    return [math.sqrt(total / steps.shape[1]) for total in squares.tolist()]
