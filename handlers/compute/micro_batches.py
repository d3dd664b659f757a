"""Applies a network to any number of images in passes of proven sizes.

The last pass is padded with blank images. Where a row's bits depend on nothing but the row (`BatchSizes.free`), the
answer about an image is the same at any position in any request. Otherwise passes have the reference size: the answer
is the same for equal requests, and its last bits may differ in others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handlers.compute.model import Model
from handlers.protocol.images import from_pixels


@torch.inference_mode()
def mapped(model: Model, pixels: NDArray[np.uint8], function: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a function of images [B, C, H, W] to pixels uint8 [N, H, W, C], N >= 1.

    Returns: the function's results [N, ...], on the CPU.
    """
    passes = model.sizes.passes(len(pixels))
    return torch.cat([_mapped(model, pixels[rows.start : rows.stop], size, function) for rows, size in passes])


def _mapped(model: Model, pixels: NDArray[np.uint8], size: int, function: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a function to n <= `size` images, padded to `size`."""
    rows = np.zeros((size, *model.image_shape), np.uint8)
    rows[: len(pixels)] = pixels
    return function(from_pixels(rows, model.device))[: len(pixels)].cpu()
