"""Applies a network to any number of images in micro-batches of one size.

Image j of a request is row j mod B of a micro-batch of B rows, the last one padded with blank images; requests are
never mixed. So the answer to a request does not depend on concurrent requests, nor an image's answer on what its
neighbours show. An image's position in the request may still change the last bits: equal bytes are promised for equal
requests.
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
    size = model.micro_batch
    return torch.cat([_mapped(model, pixels[first : first + size], function) for first in range(0, len(pixels), size)])


def _mapped(model: Model, pixels: NDArray[np.uint8], function: Callable[[Tensor], Tensor]) -> Tensor:
    """Apply a function to n <= B images, padded to B."""
    rows = np.zeros((model.micro_batch, *model.image_shape), np.uint8)
    rows[: len(pixels)] = pixels
    return function(from_pixels(rows, model.device))[: len(pixels)].cpu()
