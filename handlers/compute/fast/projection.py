"""A transposed convolution of maps of 1 x 1 is a matrix product: DCGAN's "project and reshape"."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Projection(nn.Module):
    """Maps [N, Z, 1, 1] to [N, C, k, k] in the weights' type, channels last in memory.

    Args:
        layer: a transposed convolution with stride 1 and no padding, and with a bias.
    """

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        inputs, channels, *sides = layer.weight.shape
        self.shape = (*sides, channels)
        assert layer.bias is not None  # noqa: S101 - batch normalisation was folded into it
        self.register_buffer("weight", layer.weight.permute(0, 2, 3, 1).reshape(inputs, -1).contiguous())
        self.register_buffer("bias", layer.bias.repeat(sides[0] * sides[1]))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [N, Z, 1, 1] to [N, C, k, k]."""
        weight: Tensor = self.weight  # type: ignore[assignment]
        bias: Tensor = self.bias  # type: ignore[assignment]
        maps = torch.addmm(bias, inputs.flatten(1).to(weight.dtype), weight)
        return maps.view(-1, *self.shape).permute(0, 3, 1, 2)
