"""The layers that the papers share: weight-normalised linear, Gaussian noise, batch normalisation without scale."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

Scale = Literal["trained", "frozen"]


class _WeightNormLinear(torch.autograd.Function):
    """The equation of `WeightNormLinear` with its gradient by hand: autograd's own takes twice the time on a CPU.

    With a = x v', n = |v| and s = g / n the output is y = a s + b. From dL/dy = u follow dL/dx = (u s) v,
    dL/dg = sum(u a) / n, and dL/dv = (u s)' x - v (sum(u a) s / n^2): the part along v is taken out.
    """

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, direction: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        norm = torch.linalg.vector_norm(direction, dim=1)
        raw = functional.linear(inputs, direction)
        ctx.save_for_backward(inputs, direction, scale, norm, raw)
        return torch.addcmul(bias, raw, scale / norm)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        inputs, direction, scale, norm, raw = ctx.saved_tensors
        (upstream,) = gradients
        need_inputs, need_direction, need_scale, need_bias = ctx.needs_input_grad
        gain = scale / norm
        scaled = upstream * gain
        along = torch.linalg.vecdot(upstream, raw, dim=0) if need_direction or need_scale else None
        by_direction = by_scale = None
        if need_direction and along is not None:
            by_direction = (scaled.t() @ inputs).addcmul_(direction, (along * gain / norm**2)[:, None], value=-1)
        if need_scale and along is not None:
            by_scale = along / norm
        return (
            scaled @ direction if need_inputs else None,
            by_direction,
            by_scale,
            upstream.sum(0) if need_bias else None,
        )


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
        outputs: Tensor = _WeightNormLinear.apply(  # type: ignore[no-untyped-call]
            inputs, self.direction, self.scale, self.bias
        )
        return outputs

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
        return torch.add(inputs, torch.randn(inputs.shape, generator=noise, dtype=inputs.dtype), alpha=self.std)

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
