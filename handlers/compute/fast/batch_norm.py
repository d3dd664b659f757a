"""Batch normalisation with stored statistics is a scale and a shift, which the layer before it can apply.

y = (x - m) g / sqrt(v + e) + s with x = w * u + b is w' * u + b', where w' = w g / sqrt(v + e) per unit and
b' = (b - m) g / sqrt(v + e) + s. Virtual batch normalisation stays as it is: its statistics depend on the example.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from handlers.compute.fast.swapping import put
from training.layers import ShiftOnlyBatchNorm

Weighted = nn.Linear | nn.Conv2d | nn.ConvTranspose2d


def fold_batch_norm(network: nn.Module) -> None:
    """Fold each batch normalisation into the layer before it, and leave an identity in its place."""
    for prefix, part in list(network.named_modules()):
        if isinstance(getattr(part, "norms", None), nn.ModuleList):
            for layer, norm in _pairs(part):
                _fold(network, _joined(prefix, layer), _joined(prefix, norm))


def _fold(network: nn.Module, layer: str, norm: str) -> None:
    normalisation = network.get_submodule(norm)
    if isinstance(normalisation, _BatchNorm):
        put(network, layer, _folded(cast(Weighted, network.get_submodule(layer)), normalisation))
        put(network, norm, nn.Identity())


def _pairs(part: nn.Module) -> Iterator[tuple[str, str]]:
    """Names of the layers of a network and of the normalisation after each, as our networks call theirs."""
    first = ["project"] if hasattr(part, "project") else []
    layers = [*first, *(f"hidden.{number}" for number in range(len(cast(nn.ModuleList, part.hidden))))]
    norms = [f"norms.{number}" for number in range(len(cast(nn.ModuleList, part.norms)))]
    return zip(layers, norms, strict=True)


@torch.no_grad()
def _folded(layer: Weighted, norm: _BatchNorm) -> nn.Module:
    """Return a layer with a bias that does both, computed in float64 and rounded once."""
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101 - in eval mode
    gain = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        gain = gain * norm.weight.double()
    shift = norm.shift if isinstance(norm, ShiftOnlyBatchNorm) else norm.bias
    bias = torch.zeros_like(gain) if layer.bias is None else layer.bias.double()
    bias = (bias - norm.running_mean.double()) * gain + shift.double()
    layer.weight.copy_(layer.weight.double() * _per_unit(gain, layer))
    layer.bias = nn.Parameter(bias.float(), requires_grad=False)
    return layer


def _per_unit(gain: Tensor, layer: Weighted) -> Tensor:
    """View one factor per unit so that it broadcasts over the layer's weight."""
    units_axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    shape = [1] * layer.weight.ndim
    shape[units_axis] = -1
    return gain.view(shape)


def _joined(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name
