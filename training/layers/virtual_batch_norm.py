"""Virtual batch normalisation: statistics of one fixed batch in place of the current batch."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Affine = Literal["shift", "scale and shift"]


class VirtualBatchNorm(nn.Module):
    """Normalise each example by a fixed reference batch and the example itself, Salimans et al. 2016, section 3.6.

    The statistics of example i are those of the R reference examples and example i together (arXiv:1606.03498). With
    c = 1 / (R + 1), mean m and variance v of the reference and m_i, v_i of the example (over its positions; a vector's
    are x and 0) they are

        mean      c m_i + (1 - c) m
        variance  c v_i + (1 - c) v + c (1 - c) (m_i - m)^2

    The reference examples are normalised by m and v. No example depends on another outside the reference. Maps have one
    mean and variance per channel, over examples and positions.

    In train mode the reference passes through the network with the batch: **the first R rows of the input are the
    reference's**, so that gradients also reach the weights through its statistics. In eval mode there are no such rows;
    the statistics are those of the last call in train mode, which are buffers.

    Args:
        features: F, or C of maps.
        reference_size: R >= 2.
        affine: whether a shift follows, as in `ShiftOnlyBatchNorm`, or a scale and a shift.
        epsilon: added to the variance.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, features: int, *, reference_size: int, affine: Affine = "shift", epsilon: float = 1e-5) -> None:
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(features))
        self.scale = nn.Parameter(torch.ones(features)) if affine == "scale and shift" else None
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("variance", torch.ones(features))
        self.reference_size = reference_size
        self.epsilon = epsilon

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [R + N, F] or [R + N, C, H, W] in train mode, the same without the R rows in eval mode; N >= 1."""
        inputs = inputs.to(torch.promote_types(inputs.dtype, torch.float32))  # bfloat16 is too coarse for statistics
        if not self.training:
            return self._affine(self._joined_by_itself(inputs, self.mean, self.variance))
        reference, others = inputs[: self.reference_size], inputs[self.reference_size :]
        variance, mean = torch.var_mean(reference, dim=(0, *range(2, inputs.ndim)), correction=0)
        self.mean.copy_(mean.detach())
        self.variance.copy_(variance.detach())
        normalised = (reference - _as_maps(mean, inputs)) * _as_maps((variance + self.epsilon).rsqrt(), inputs)
        return self._affine(torch.cat([normalised, self._joined_by_itself(others, mean, variance)]))

    def _joined_by_itself(self, inputs: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """Normalise [N, ...] by the reference's mean and variance [F], each example joined to the reference."""
        share = 1 / (self.reference_size + 1)
        mean, variance = _as_maps(mean, inputs), _as_maps(variance, inputs)
        own_mean, own_variance = inputs, torch.zeros_like(inputs)
        if inputs.ndim == 4:
            own_variance, own_mean = torch.var_mean(inputs, dim=(2, 3), correction=0, keepdim=True)
        away = own_mean - mean
        joined = share * own_variance + (1 - share) * variance + share * (1 - share) * away.square()
        return (inputs - mean - share * away) * (joined + self.epsilon).rsqrt()

    def _affine(self, normalised: Tensor) -> Tensor:
        if self.scale is not None:
            normalised = normalised * _as_maps(self.scale, normalised)
        return normalised + _as_maps(self.shift, normalised)

    def extra_repr(self) -> str:
        """Show the sizes in the printed module."""
        return f"{len(self.shift)}, reference_size={self.reference_size}"


def _as_maps(values: Tensor, inputs: Tensor) -> Tensor:
    """View one value per feature [F] so that it broadcasts over [N, F] or [N, C, H, W]."""
    return values.view(-1, *[1] * (inputs.ndim - 2))
