"""Converts images between their two forms: uint8 [N, H, W, C] on the wire, float32 [N, C, H, W] in [-1, 1] inside."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handlers.errors import RequestError


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Convert finite images float [N, C, H, W] on any device to pixels uint8 [N, H, W, C].

    -1 maps to 0 and 1 to 255, rounded to the nearest level; values outside are clipped.
    """
    levels = ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    pixels: NDArray[np.uint8] = levels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return pixels


def from_pixels(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """Convert pixels uint8 [N, H, W, C] to images float32 [N, C, H, W] in [-1, 1] on a device."""
    levels = torch.from_numpy(np.ascontiguousarray(pixels)).to(device).permute(0, 3, 1, 2).contiguous()
    return levels.float() / 127.5 - 1


def check_shape(pixels: NDArray[np.uint8], shape: tuple[int, int, int]) -> None:
    """Check that pixels [N, H, W, C] are images of a shape (H, W, C).

    Raises:
        RequestError: if they have another shape.
    """
    if pixels.shape[1:] != shape:
        raise RequestError(f"images must be height x width x channels {_shown(shape)}, not {_shown(pixels.shape[1:])}")


def _shown(shape: tuple[int, ...]) -> str:
    return " x ".join(str(size) for size in shape)
