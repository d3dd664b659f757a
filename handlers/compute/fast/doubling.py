"""Transposed convolutions of 4 x 4 kernels that double the side, as ordinary products.

With stride 2 and one row of padding each pixel of the result sees 2 x 2 pixels of the input, and which of the kernel's
taps meet them depends on the parity of its row and column only:

    row 2 i       taps 3, 1 at the rows i - 1, i
    row 2 i + 1   taps 2, 0 at the rows i, i + 1

So each of the four parities is a 2 x 2 convolution of its own. Two forms of that beat oneDNN's transposed convolution,
each where it is used (`bfloat16.py`). Sums are over the same products, accumulated in float32 and rounded once.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

TAPS = ((3, 1), (2, 0))  # of an even, and of an odd row or column


def doubles_the_side(layer: nn.ConvTranspose2d) -> bool:
    """Whether a layer is of the form that this module knows."""
    form = layer.kernel_size, layer.stride, layer.padding, layer.output_padding, layer.groups, layer.dilation
    return form == ((4, 4), (2, 2), (1, 1), (0, 0), 1, (1, 1))


class PatchDoubling(nn.Module):
    """Copies each parity's patches of 2 x 2 pixels into rows and multiplies them; for many channels on small maps.

    Args:
        layer: as `doubles_the_side` says, with a bias.
    """

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        kernels = _kernels(layer.weight)  # [2, 2, C', C, 2, 2]
        self.channels = kernels.shape[2]
        rows = kernels.permute(0, 1, 4, 5, 3, 2).reshape(2, 2, -1, self.channels)
        self.register_buffer("weight", rows.contiguous())  # [2, 2, 2 2 C, C']
        self.register_buffer("bias", layer.bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C', 2 H, 2 W], channels last in memory."""
        weight: Tensor = self.weight  # type: ignore[assignment]
        bias: Tensor = self.bias  # type: ignore[assignment]
        count, _, height, width = inputs.shape
        padded = functional.pad(inputs.to(weight.dtype).permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        windows = padded.unfold(1, 2, 1).unfold(2, 2, 1).permute(0, 1, 2, 4, 5, 3)  # [N, H + 1, W + 1, 2, 2, C]
        maps = weight.new_empty(count, height, 2, width, 2, self.channels)
        for down in (0, 1):
            for across in (0, 1):
                patches = windows[:, down : down + height, across : across + width]
                product = torch.addmm(bias, patches.reshape(count * height * width, -1), weight[down, across])
                maps[:, :, down, :, across] = product.view(count, height, width, -1)
        return maps.view(count, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


class WindowDoubling(nn.Module):
    """One 2 x 2 convolution gives all four parities as channels, which are put in their places; for few channels.

    Args:
        layer: as `doubles_the_side` says, with a bias.
    """

    def __init__(self, layer: nn.ConvTranspose2d) -> None:
        super().__init__()
        kernels = _kernels(layer.weight)  # [2, 2, C', C, 2, 2]
        self.channels = kernels.shape[2]
        self.register_buffer("weight", kernels.flatten(0, 2).contiguous(memory_format=torch.channels_last))
        assert layer.bias is not None  # noqa: S101 - the layer has one
        self.register_buffer("bias", layer.bias.repeat(4))

    def forward(self, inputs: Tensor) -> Tensor:
        """Map [N, C, H, W] to [N, C', 2 H, 2 W], channels last in memory."""
        weight: Tensor = self.weight  # type: ignore[assignment]
        bias: Tensor = self.bias  # type: ignore[assignment]
        count, _, height, width = inputs.shape
        found = functional.conv2d(inputs.to(weight.dtype), weight, bias, padding=1).permute(0, 2, 3, 1)
        windows = found.view(count, height + 1, width + 1, 2, 2, self.channels)
        maps = weight.new_empty(count, height, 2, width, 2, self.channels)
        for down in (0, 1):
            for across in (0, 1):
                maps[:, :, down, :, across] = windows[:, down : down + height, across : across + width, down, across]
        return maps.view(count, 2 * height, 2 * width, -1).permute(0, 3, 1, 2)


def _kernels(weight: Tensor) -> Tensor:
    """Cut a kernel [C, C', 4, 4] into those of the parities, [2, 2, C', C, 2, 2]."""
    rows = [weight[:, :, list(down)][..., list(across)] for down in TAPS for across in TAPS]
    stacked = torch.stack([row.transpose(0, 1) for row in rows])
    return stacked.view(2, 2, *stacked.shape[1:])
