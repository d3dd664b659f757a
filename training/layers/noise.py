"""Gaussian noise, drawn from a generator that the caller passes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.compute import parallel


class GaussianNoise(nn.Module):
    """Add noise from N(0, std^2) to every input, drawn from a generator that the caller passes.

    Args:
        std: standard deviation of the noise, >= 0.
    """

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, inputs: Tensor, noise: torch.Generator | None) -> Tensor:
        """Return inputs of any shape with noise added, or unchanged where `noise` is None (evaluation)."""
        if noise is None or self.std == 0:
            return inputs
        # Drawn on the generator's device: equal seeds give equal noise on every device.
        precision = torch.promote_types(inputs.dtype, torch.float32)
        drawn = parallel.drawn(
            lambda shape: torch.randn(shape, generator=noise, dtype=precision, device=noise.device), inputs.shape
        )
        return torch.add(inputs, drawn.to(inputs.device, inputs.dtype), alpha=self.std)

    def extra_repr(self) -> str:
        """Show the standard deviation in the printed module."""
        return f"std={self.std}"
