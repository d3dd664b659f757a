"""Weight normalisation computed once: g v / |v| is a constant when nothing is trained."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handlers.compute.fast.swapping import swap
from training.layers import WeightNormConv2d, WeightNormConvTranspose2d, WeightNormLinear


def fold_weight_norm(network: nn.Module) -> None:
    """Replace weight-normalised layers by torch's own with the same weights."""
    swap(network, WeightNormLinear, _linear)
    swap(network, WeightNormConv2d, _convolution)
    swap(network, WeightNormConvTranspose2d, _transposed_convolution)


def _linear(layer: WeightNormLinear) -> nn.Module:
    units, inputs = layer.direction.shape
    return _filled(nn.Linear(inputs, units), _weight(layer.direction, layer.scale, units_axis=0), layer.bias)


def _convolution(layer: WeightNormConv2d) -> nn.Module:
    units, channels, *kernel = layer.direction.shape
    made = nn.Conv2d(channels, units, (kernel[0], kernel[1]), stride=layer.stride, padding=layer.padding)
    return _filled(made, _weight(layer.direction, layer.scale, units_axis=0), layer.bias)


def _transposed_convolution(layer: WeightNormConvTranspose2d) -> nn.Module:
    channels, units, *kernel = layer.direction.shape
    made = nn.ConvTranspose2d(
        channels,
        units,
        (kernel[0], kernel[1]),
        stride=layer.stride,
        padding=layer.padding,
        output_padding=layer.output_padding,
    )
    return _filled(made, _weight(layer.direction, layer.scale, units_axis=1), layer.bias)


def _weight(direction: Tensor, scale: Tensor, *, units_axis: int) -> Tensor:
    """Return g v / |v|, Salimans & Kingma 2016, eq. 2, computed in float64 and rounded once."""
    axes = [axis for axis in range(direction.ndim) if axis != units_axis]
    norm = torch.linalg.vector_norm(direction.double(), dim=axes, keepdim=True)
    weight: Tensor = direction.double() / norm * scale.double().view(norm.shape)
    return weight


@torch.no_grad()
def _filled(
    layer: nn.Linear | nn.Conv2d | nn.ConvTranspose2d, weight: Tensor, bias: Tensor
) -> nn.Linear | nn.Conv2d | nn.ConvTranspose2d:
    layer.weight.copy_(weight)
    assert layer.bias is not None  # noqa: S101 - built with one
    layer.bias.copy_(bias)
    return layer.eval().requires_grad_(False)
