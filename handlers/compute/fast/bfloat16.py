"""Layers in bfloat16, channels last: half the bytes, and units of their own in newer processors and GPUs.

Products are accumulated in float32. What comes last stays in float32, where the eight bits of a bfloat16 would show: a
generator's squashing function, and a classifier's logits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from handlers.compute.fast.doubling import PatchDoubling, WindowDoubling, doubles_the_side
from handlers.compute.fast.projection import Projection
from handlers.compute.fast.swapping import put
from training.networks.features import FeatureClassifier

FEW_CHANNELS = 4  # of an image: there a convolution of windows takes 0.4 of the time (64 images, 64 -> 3 at 32 x 32)
MANY_CHANNELS = 1024  # there patches on maps of 4 x 4 take 0.6 of the time (64 images, 1024 -> 512)
LAST_LAYERS = ("output", "linear")  # the names of those that make pixels or logits


def compute_in_bfloat16(network: nn.Module) -> None:
    """Replace the layers of a network whose normalisations are folded by such in bfloat16."""
    judges = isinstance(network, FeatureClassifier)
    for name, layer in list(network.named_modules()):
        if isinstance(layer, nn.ReLU | nn.LeakyReLU):
            layer.inplace = True
        elif isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.PReLU):
            put(network, name, _replaced(name, layer, judges=judges))


class InBfloat16(nn.Module):
    """Applies a layer to its inputs in bfloat16."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = in_bfloat16(layer)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs of any type to what the layer makes of them in bfloat16."""
        outputs: Tensor = self.layer(inputs.to(torch.bfloat16))
        return outputs


class InFloat32(nn.Module):
    """Gives back what a layer makes in float32."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        """Map inputs to float32."""
        outputs: Tensor = self.layer(inputs)
        return outputs.float()


class RowProduct(nn.Module):
    """A linear layer in float32 that multiplies row by row, so that their number cannot decide how they are added up.

    Args:
        layer: with a bias; few units, since the weights are read again for each row.
    """

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.register_buffer("weight", layer.weight.t().contiguous())
        self.register_buffer("bias", layer.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [N, F] of any type to [N, K] in float32."""
        weight: Tensor = self.weight  # type: ignore[assignment]
        bias: Tensor = self.bias  # type: ignore[assignment]
        rows = torch.bmm(inputs.float()[:, None], weight.expand(len(inputs), -1, -1))
        return rows[:, 0] + bias


def in_bfloat16(layer: nn.Module) -> nn.Module:
    """Convert a layer's weights, those of convolutions also to channels last."""
    return layer.to(torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _replaced(name: str, layer: nn.Module, *, judges: bool) -> nn.Module:
    last = name.rpartition(".")[2] in LAST_LAYERS
    if last and judges and isinstance(layer, nn.Linear):
        return RowProduct(layer)
    made = _transposed(name, layer) if isinstance(layer, nn.ConvTranspose2d) else InBfloat16(layer)
    return InFloat32(made) if last else made


def _transposed(name: str, layer: nn.ConvTranspose2d) -> nn.Module:
    if layer.stride == (1, 1) and layer.padding == (0, 0):
        return Projection(layer).to(torch.bfloat16)
    if doubles_the_side(layer) and layer.out_channels <= FEW_CHANNELS:
        return in_bfloat16(WindowDoubling(layer))
    if doubles_the_side(layer) and layer.in_channels >= MANY_CHANNELS and name.endswith("hidden.0"):
        return PatchDoubling(layer).to(torch.bfloat16)
    return InBfloat16(layer)
