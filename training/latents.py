"""Latent vectors: the three distributions that recipes name."""

from __future__ import annotations

import torch
from torch import Tensor

from training.recipes import LatentDistribution

VARIANCES: dict[LatentDistribution, float] = {"uniform01": 1 / 12, "uniform11": 1 / 3, "normal": 1.0}


def draw_latents(
    count: int, size: int, *, distribution: LatentDistribution, generator: torch.Generator | None
) -> Tensor:
    """Draw latents [count, size], float32, from U(0, 1), U(-1, 1) or N(0, 1), on the generator's device."""
    device = generator.device if generator else None
    if distribution == "normal":
        return torch.randn(count, size, generator=generator, device=device)
    uniform = torch.rand(count, size, generator=generator, device=device)
    return uniform if distribution == "uniform01" else 2 * uniform - 1
