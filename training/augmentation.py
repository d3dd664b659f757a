"""Differentiable augmentation of what a discriminator sees, Zhao et al. 2020 (arXiv:2006.10738).

A discriminator that sees few images many times learns them by heart. Here it sees real and generated images changed at
random in the same ways, in its own steps and in the generator's, whose gradient passes through the change. So the
generator learns to draw images as they are, not changed ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TRANSLATION = 1 / 8  # largest shift, share of a side
CUTOUT = 1 / 2  # side of the square that is left out, share of the image's


def augmented(images: Tensor, policy: str, noise: torch.Generator) -> Tensor:
    """Return images changed at random, each in its own way.

    Args:
        images: [N, C, H, W] in [-1, 1]; gradients pass.
        policy: names of POLICIES joined by commas, in the order in which they are applied; "no" for none.
        noise: of the CPU.
    """
    for name in policy.split(",") if policy != "no" else ():
        images = POLICIES[name](images, noise)
    return images


def recoloured(images: Tensor, noise: torch.Generator) -> Tensor:
    """Change brightness by up to 0.5 either way, saturation by a factor of 0 to 2 and contrast by one of 0.5 to 1.5."""
    brightness, saturation, contrast = torch.rand(3, len(images), 1, 1, 1, generator=noise).to(images)
    images = images + (brightness - 0.5)
    grey = images.mean(dim=1, keepdim=True)
    images = grey + (images - grey) * (2 * saturation)
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    changed: Tensor = mean + (images - mean) * (contrast + 0.5)
    return changed


def translated(images: Tensor, noise: torch.Generator) -> Tensor:
    """Shift by whole pixels, up to an eighth of a side either way; what comes in is grey."""
    count, _, height, width = images.shape
    rows, rows_inside = _shifted(height, count, noise, images.device)
    columns, columns_inside = _shifted(width, count, noise, images.device)
    every = torch.arange(count, device=images.device)[:, None, None]
    moved = images.permute(0, 2, 3, 1)[every, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    return moved * (rows_inside[:, None, :, None] & columns_inside[:, None, None, :])


def cut_out(images: Tensor, noise: torch.Generator) -> Tensor:
    """Make a square of half the sides grey, its centre anywhere in the image."""
    count, _, height, width = images.shape
    rows, columns = (_within(side, count, noise, images.device) for side in (height, width))
    return images * ~(rows[:, None, :, None] & columns[:, None, None, :])


POLICIES: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "colour": recoloured,
    "translation": translated,
    "cutout": cut_out,
}


def _shifted(side: int, count: int, noise: torch.Generator, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return where along a side each pixel of `count` shifted images comes from, and whether that lies in the image."""
    most = int(side * TRANSLATION + 0.5)
    places = torch.arange(side) + torch.randint(-most, most + 1, (count, 1), generator=noise)
    return places.clamp(0, side - 1).to(device), ((places >= 0) & (places < side)).to(device)


def _within(side: int, count: int, noise: torch.Generator, device: torch.device) -> Tensor:
    """Return whether each pixel along a side lies in the interval that is cut out, [count, side]."""
    size = int(side * CUTOUT + 0.5)
    centres = torch.randint(0, side + 1 - size % 2, (count, 1), generator=noise)
    places = torch.arange(side) - (centres - size // 2)
    return ((places >= 0) & (places < size)).to(device)
