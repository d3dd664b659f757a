"""Maxout units."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Maxout(nn.Module):
    """h_i(x) = max_j (x W_ij + b_ij) over k linear pieces, Goodfellow et al. 2013, eq. 1 (arXiv:1302.4389).

    Args:
        in_features: width of the input.
        units: number of maxout units.
        pieces: k, the number of linear maps whose maximum a unit takes.
    """

    def __init__(self, in_features: int, units: int, pieces: int) -> None:
        super().__init__()
        self.linear = nn.Linear(
            in_features, pieces * units
        )  # grouped by piece, so that the maximum runs along contiguous rows
        self.pieces = pieces

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [N, in_features] to [N, units]."""
        outputs: Tensor = self.linear(inputs).unflatten(1, (self.pieces, -1))  # [N, pieces, units]
        return outputs.max(dim=1).values

    @torch.no_grad()
    def constrain(self, largest_norm: float) -> None:
        """Clip the weight vectors of all pieces to length `largest_norm` > 0, Hinton et al. 2012."""
        self.linear.weight.renorm_(2, 0, largest_norm)

    def extra_repr(self) -> str:
        """Show the number of pieces in the printed module."""
        return f"pieces={self.pieces}"
