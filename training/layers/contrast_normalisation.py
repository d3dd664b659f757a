"""Local contrast normalisation over all maps of a layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ContrastNormalisation(nn.Module):
    """Subtractive, then divisive normalisation, Jarrett et al. 2009, section 2; in Le et al. 2012, section 3.

    g = h - sum w h over a Gaussian window of positions and all maps, then y = g / max(c, sqrt(sum w g^2)). At a border
    the window is clipped and its weights are rescaled to sum to 1.

    Args:
        size: (H, W) of the inputs.
        window: side of the Gaussian window, in positions; its standard deviation is a quarter of that.
        floor: c > 0, below which contrast is not amplified.
    """

    def __init__(self, size: tuple[int, int], *, window: int, floor: float) -> None:
        super().__init__()
        self.window, self.floor = window, floor
        for name, length in zip(("down", "across"), size, strict=True):
            self.register_buffer(name, _window(length, window), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [M, H, W, N] to the same shape."""
        mean, contrast = self.statistics(inputs)
        return (inputs - mean) / contrast

    def statistics(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the local means and contrasts [H, W, N] of [M, H, W, N], by which `forward` normalises."""
        mean = self._mean(inputs)
        return mean, self._mean((inputs - mean).square()).clamp(min=self.floor**2).sqrt()

    def extra_repr(self) -> str:
        """Show the window in the printed module."""
        return f"window={self.window}, floor={self.floor}"

    def _mean(self, maps: Tensor) -> Tensor:
        """Return the weighted means [H, W, N] of windows over all maps [M, H, W, N]."""
        down: Tensor = self.down  # type: ignore[assignment]
        across: Tensor = self.across  # type: ignore[assignment]
        mean = maps.mean(dim=0)
        return torch.matmul(across, torch.mm(down, mean.flatten(1)).view_as(mean))


def _window(length: int, window: int) -> Tensor:
    """Return the weights [length, length] of each position's neighbours along one axis; rows sum to 1."""
    places = torch.arange(length, dtype=torch.float64)
    apart = places[:, None] - places
    weights = torch.exp(-0.5 * (apart / (window / 4)).square()) * (apart.abs() <= window // 2)
    return (weights / weights.sum(dim=1, keepdim=True)).float()
