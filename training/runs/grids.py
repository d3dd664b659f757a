"""Grids of images. NumPy and Pillow only; equal input gives equal bytes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BACKGROUND = 32  # dark grey between the images


def grid(images: NDArray[np.uint8], columns: int, *, scale: int = 1, gap: int = 2) -> Image.Image:
    """Arrange images in a grid, row by row.

    Args:
        images: [N, H, W, C] with C = 1 or 3 and N >= 1; the last row may stay short.
        columns: images per row, >= 1.
        scale: side in px of the square that each pixel becomes, >= 1.
        gap: width of the lines between images, px, before scaling.
    """
    if images.ndim != 4 or images.shape[3] not in (1, 3) or 0 in images.shape or images.dtype != np.uint8:
        raise ValueError(f"expected uint8 [N, H, W, 1 or 3] with N >= 1, got {images.dtype} {list(images.shape)}")
    if columns < 1 or scale < 1 or gap < 0:
        raise ValueError(f"expected columns >= 1, scale >= 1 and gap >= 0, got {columns}, {scale} and {gap}")
    count, height, width, channels = images.shape
    rows, columns = -(-count // columns), min(columns, count)
    shape = (rows * (height + gap) + gap, columns * (width + gap) + gap, channels)
    sheet = np.full(shape, BACKGROUND, np.uint8)
    for number, image in enumerate(images):
        top = gap + number // columns * (height + gap)
        left = gap + number % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    enlarged = sheet.repeat(scale, axis=0).repeat(scale, axis=1)
    return Image.fromarray(enlarged[..., 0] if channels == 1 else enlarged)
