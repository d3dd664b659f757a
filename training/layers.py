"""The layers that the papers share: weight-normalised linear, Gaussian noise, batch normalisation without scale."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Scale = Literal["trained", "frozen"]


class WeightNormLinear(nn.Module):
    """Linear layer y = x (g v / |v|)' + b, Salimans & Kingma 2016, eq. 2 (arXiv:1602.07868).

    With a frozen g the layer can turn its weight vectors but not lengthen them, which keeps a discriminator from
    inflating the features that the generator must match.

    Args:
        in_features: width of the input.
        out_features: number of units.
        scale: whether g is trained or stays where `initialise_from` put it.
        direction_std: standard deviation of the first v; 0.1 in Salimans et al. 2016.
    """

    def __init__(self, in_features: int, out_features: int, *, scale: Scale, direction_std: float = 0.1) -> None:
        super().__init__()
        self.direction = nn.Parameter(torch.empty(out_features, in_features).normal_(0.0, direction_std))  # v
        self.scale = nn.Parameter(torch.ones(out_features), requires_grad=scale == "trained")  # g
        self.bias = nn.Parameter(torch.zeros(out_features))  # b

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [N, in_features] to [N, out_features]."""
        gain = self.scale / torch.linalg.vector_norm(self.direction, dim=1)
        return functional.linear(inputs, self.direction * gain[:, None], self.bias)

    @torch.no_grad()
    def initialise_from(self, inputs: Tensor) -> Tensor:
        """Set g and b so that every unit has mean 0 and variance 1 over a batch, Salimans & Kingma 2016, eq. 5 and 6.

        Args:
            inputs: [N, in_features], what the layer sees for a batch of training images.

        Returns:
            [N, out_features], the outputs after the initialisation.
        """
        self.scale.fill_(1.0)
        self.bias.zero_()
        outputs: Tensor = self(inputs)
        deviation, mean = torch.std_mean(outputs, dim=0, correction=0)
        deviation = deviation.clamp_min(1e-6)  # a unit that is constant over the batch stays finite
        self.scale.div_(deviation)
        self.bias.copy_(-mean / deviation)
        return (outputs - mean) / deviation


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
        return inputs + torch.randn(inputs.shape, generator=noise, dtype=inputs.dtype).mul_(self.std)

    def extra_repr(self) -> str:
        """Show the standard deviation in the printed module."""
        return f"std={self.std}"


class ShiftOnlyBatchNorm(nn.BatchNorm1d):
    """Batch normalisation with a trained shift and no scale, Ioffe & Szegedy 2015 (arXiv:1502.03167).

    In front of a softplus or ReLU whose output is scaled again by the next layer the scale is redundant.
    """

    def __init__(self, features: int) -> None:
        super().__init__(features, affine=False)
        self.shift = nn.Parameter(torch.zeros(features))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the name of the parent's parameter
        """Map [N, features] to [N, features]; batch statistics in train mode, stored ones in eval mode."""
        return super().forward(input) + self.shift


def uniform_glorot(linear: nn.Linear) -> nn.Linear:
    """Draw a linear layer's weights from Glorot & Bengio's uniform distribution, with zero bias, and return it."""
    bound = math.sqrt(6.0 / (linear.in_features + linear.out_features))
    nn.init.uniform_(linear.weight, -bound, bound)
    if linear.bias is not None:
        nn.init.zeros_(linear.bias)
    return linear
