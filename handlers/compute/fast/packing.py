"""Weights in the order in which oneDNN's kernels read them, put so once.

torch puts them in order at every call, which is half of the time of a lone image: a layer from 512 to 256 channels on
maps of 4 x 4 took 0.18 ms packed and 0.74 as it is, and with 64 images 12.1 and 13.2 (one thread of an AMD EPYC with
bfloat16 units). The bits are the same. The operations are those to which torch's compiler lowers these layers.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from handlers.compute.fast.bfloat16 import InBfloat16
from handlers.compute.fast.projection import Projection
from handlers.compute.fast.swapping import put

_ONEDNN: Any = torch.ops.mkldnn
USUAL_IMAGES, USUAL_SIDE = 64, 8  # of a pass, for which the order is chosen; every other pass can use it
_PLAIN: tuple[str, list[float], str] = (
    "none",
    [],
    "",
)  # nothing fused behind the product: oneDNN's ReLU would make 0 of NaN


def pack_weights(network: nn.Module) -> None:
    """Pack the transposed convolutions and projections of a network in bfloat16 that the CPU computes, in place."""
    for name, layer in list(network.named_modules()):
        if isinstance(layer, InBfloat16) and isinstance(layer.layer, nn.ConvTranspose2d):
            put(network, name, PackedTransposed(layer.layer))
        elif isinstance(layer, Projection):
            put(network, name, PackedProjection(layer))


class PackedTransposed(nn.Module):
    """A transposed convolution in bfloat16.

    Args:
        layer: in bfloat16.
    """

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        form = layer.padding, layer.output_padding, layer.stride, layer.dilation
        self._form = *(list(pair) for pair in form), layer.groups
        self._bias = layer.bias
        inputs = [USUAL_IMAGES, layer.in_channels, USUAL_SIDE, USUAL_SIDE]
        weight = layer.weight.detach().contiguous()
        self._weight: Tensor = _ONEDNN._reorder_convolution_transpose_weight(weight, *self._form, inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [N, C, H, W] of any type to [N, C', H', W'] in bfloat16."""
        maps = inputs.to(torch.bfloat16)
        result: Tensor = _ONEDNN._convolution_transpose_pointwise(maps, self._weight, self._bias, *self._form, *_PLAIN)
        return result


class PackedProjection(nn.Module):
    """A projection in bfloat16.

    Args:
        layer: in bfloat16.
    """

    def __init__(self, layer: Projection) -> None:
        super().__init__()
        self._shape = layer.shape
        self._bias = layer.bias
        weight = layer.get_buffer("weight").t().contiguous()
        self._weight: Tensor = _ONEDNN._reorder_linear_weight(weight, USUAL_IMAGES)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [N, Z, 1, 1] of any type to [N, C, k, k] in bfloat16."""
        rows = inputs.flatten(1).to(torch.bfloat16)
        maps: Tensor = _ONEDNN._linear_pointwise(rows, self._weight, self._bias, *_PLAIN)
        return maps.view(-1, *self._shape).permute(0, 3, 1, 2)
