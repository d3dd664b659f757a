"""Dropout, drawn from a generator that the caller passes."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.compute import parallel


class Dropout(nn.Module):
    """Set each input to 0 with probability p and multiply the others by 1 / (1 - p), Srivastava et al. 2014.

    torch's own dropout draws from the global generator, so it could not be reproduced per step or after a resume.

    Args:
        share: p, the expected share of inputs that are dropped, in [0, 1).
    """

    def __init__(self, share: float) -> None:
        super().__init__()
        if not 0 <= share < 1:
            raise ValueError(f"the share of inputs that dropout drops is {share}, expected 0 <= share < 1")
        self.share = share

    def forward(self, inputs: Tensor, noise: torch.Generator | None) -> Tensor:
        """Return inputs of any shape with some dropped, or unchanged where `noise` is None (evaluation)."""
        if noise is None or self.share == 0:
            return inputs
        # Drawn on the generator's device: equal seeds drop equal inputs on every device.
        precision = torch.promote_types(inputs.dtype, torch.float32)
        drawn = parallel.drawn(
            lambda shape: torch.rand(shape, generator=noise, dtype=precision, device=noise.device), inputs.shape
        )
        return inputs * (drawn.to(inputs.device) >= self.share) / (1 - self.share)

    def extra_repr(self) -> str:
        """Show the share in the printed module."""
        return f"share={self.share}"
