"""Random shifts, rotations, changes of size and crops of images, drawn from the caller's stream."""

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


def cropped(images: Tensor, noise: torch.Generator, *, most: float) -> Tensor:
    """Return a random part of each image, brought to the whole image's size.

    A side loses up to twice `most`, uniformly and divided at random between its ends; height and width lose the same
    share. Pixels are interpolated linearly.

    Args:
        images: float32 [N, C, H, W] on the CPU.
        noise: of the CPU; an image takes three numbers of it.
        most: share of a side, in [0, 0.5).
    """
    drawn = torch.rand(3, len(images), generator=noise)
    cut = most * drawn[0]
    down, across = 2 * cut * (2 * drawn[1:] - 1)  # of the part's centre, where the image's side is 2
    kept, none = 1 - 2 * cut, torch.zeros_like(cut)
    rows = torch.stack([kept, none, across], dim=1), torch.stack([none, kept, down], dim=1)
    places = functional.affine_grid(torch.stack(rows, dim=1), list(images.shape), align_corners=False)
    return functional.grid_sample(images, places, padding_mode="border", align_corners=False)
