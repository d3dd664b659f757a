"""Random shifts, rotations and changes of size of images, drawn from the caller's stream."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def distorted(images: Tensor, noise: torch.Generator, *, shift: float, rotation: float, scale: float) -> Tensor:
    """Return each image shifted, rotated and scaled at random, each uniformly within its range.

    Pixels are interpolated linearly; beyond the edge lie those of the edge.

    Args:
        images: float32 [N, C, H, W] on the CPU.
        noise: of the CPU; an image takes four numbers of it.
        shift: largest shift down and across, px.
        rotation: largest rotation about the centre either way, degrees.
        scale: largest change of size: factors are 1 - scale to 1 + scale.
    """
    height, width = images.shape[2:]
    down, across, turn, growth = 2 * torch.rand(4, len(images), generator=noise) - 1
    angle, size = turn * math.radians(rotation), 1 / (1 + growth * scale)
    cosine, sine = angle.cos() * size, angle.sin() * size
    # Coordinates run from -1 to 1 along either side, so that on oblong images a rotation needs their ratio.
    rows = (
        torch.stack([cosine, -sine * (height / width), 2 * shift * across / width], dim=1),
        torch.stack([sine * (width / height), cosine, 2 * shift * down / height], dim=1),
    )
    places = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, places, padding_mode="border", align_corners=False)
