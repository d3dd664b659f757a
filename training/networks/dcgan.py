"""The convolutional pair of DCGAN, Radford et al. 2015 (arXiv:1511.06434), for square images of 28, 32 or 64 px.

Its guidelines: strided convolutions in place of pooling, batch normalisation in both networks except at the generator's
output and the discriminator's input, no hidden fully connected layer, ReLU and tanh in the generator, LeakyReLU in the
discriminator. With classes the pair is conditional: planes of the one-hot label join the input of every layer, as in
the authors' code for MNIST.

    generator, width w, 64 x 64    z -> 8w 4x4 -> 4w 8x8 -> 2w 16x16 -> w 32x32 -> C 64x64
    discriminator                  the same widths and sizes in reverse, then one logit
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn

from training.errors import DataError
from training.layers import BatchNorm2d

Kernel = Literal[4, 5]
Layout = Literal["strided", "paired"]
# Side of the images: side of the maps that the generator starts and the discriminator ends with, px. 7 as in the
# authors' code for MNIST.
SMALLEST_MAPS = {28: 7, 32: 4, 64: 4}
LEAK = 0.2
DEVIATION = 0.02  # of initial weights around 0 and initial scales around 1, section 4


class Generator(nn.Module):
    """Latent -> projected to the smallest map -> fractionally strided convolutions, doubling the side -> tanh -> image.

    Args:
        latent_size: length of the latent vector; 100 in the paper.
        width: channels of the narrowest layer, the one before the image; 128 in the paper, 64 in common use. Each
            layer towards the latent has twice as many.
        image_shape: (C, H, W) with C 1 or 3 and H = W 28, 32 or 64.
        classes: K of a conditional generator, 0 for an unconditional one.
        kernel: side of the kernels; 5 in the paper, 4 in common use.
        activation: "relu" as in the paper, or "prelu", which starts as ReLU and learns a slope per channel.

    Raises:
        DataError: if images of that shape cannot be generated.
    """

    def __init__(
        self,
        *,
        latent_size: int,
        width: int,
        image_shape: tuple[int, int, int],
        classes: int = 0,
        kernel: Kernel = 5,
        activation: Literal["relu", "prelu"] = "relu",
    ) -> None:
        super().__init__()
        widths = _widths(width, image_shape)[::-1]
        self.classes = classes
        # A transposed convolution of a 1 x 1 map is the paper's "project and reshape", in the weights' memory format.
        self.project = nn.ConvTranspose2d(latent_size + classes, widths[0], SMALLEST_MAPS[image_shape[1]], bias=False)
        self.hidden = nn.ModuleList(
            _doubling(wide + classes, narrow, kernel, bias=False) for wide, narrow in itertools.pairwise(widths)
        )
        self.norms = nn.ModuleList(BatchNorm2d(channels) for channels in widths)
        self.activations = nn.ModuleList(
            nn.ReLU() if activation == "relu" else nn.PReLU(channels, init=0.0) for channels in widths
        )
        self.output = _doubling(widths[-1] + classes, image_shape[0], kernel, bias=True)
        _initialise(self)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map latents [N, Z] to images [N, C, H, W] in [-1, 1].

        In train mode N >= 2 and images depend on the whole batch; in eval mode each depends on its own latent only.

        Args:
            latents: [N, Z].
            labels: [N] int64 in [0, K) for a conditional generator, else None.
        """
        one_hot = _one_hot(labels, self.classes, latents.dtype)
        units = latents[:, :, None, None]  # [N, Z, 1, 1]
        for layer, norm, activation in zip(self._before_output(), self.norms, self.activations, strict=True):
            units = activation(norm(layer(_joined(units, one_hot))))
        return torch.tanh(self.output(_joined(units, one_hot)))

    @torch.no_grad()
    def calibrate_statistics(self, latents: Tensor, labels: Tensor | None = None) -> None:
        """Store the batch statistics of one large batch of latents [N, Z], and switch to eval mode.

        Averaged weights need statistics of their own: those gathered in training belong to other weights.
        """
        for norm in self.norms:
            cast(nn.BatchNorm2d, norm).momentum = None  # a plain mean, here over this one batch
            cast(nn.BatchNorm2d, norm).reset_running_stats()
        self.train()
        self(latents, labels)
        self.eval()

    def _before_output(self) -> Sequence[nn.Module]:
        return [self.project, *self.hidden]


class Discriminator(nn.Module):
    """Image -> strided convolutions, each halving the side, down to the smallest map -> one logit.

    Args:
        image_shape: (C, H, W) with C 1 or 3 and H = W 28, 32 or 64.
        width: channels of the narrowest layer, the first; 128 in the paper, 64 in common use. They double where the
            side halves.
        classes: K of a conditional discriminator, 0 for an unconditional one.
        kernel: side of the kernels of the "strided" layout; 5 in the paper, 4 in common use.
        activation: "leaky-relu" with slope 0.2 as in the paper, or "prelu", which starts there and learns a slope per
            channel.
        layout: "strided" has one convolution per size. "paired" has two of 3 x 3, the first with stride 1: with width
            128 and images of 32 x 32 the network whose features the paper classifies CIFAR-10 with.

    Raises:
        DataError: if images of that shape are not supported.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        width: int,
        classes: int = 0,
        kernel: Kernel = 5,
        activation: Literal["leaky-relu", "prelu"] = "leaky-relu",
        layout: Layout = "strided",
    ) -> None:
        super().__init__()
        widths = _widths(width, image_shape)
        self.image_shape = image_shape
        self.classes = classes
        self.hidden = nn.ModuleList()
        for narrow, wide in itertools.pairwise([image_shape[0], *widths]):
            first = not self.hidden
            if layout == "paired":
                self.hidden.append(nn.Conv2d(narrow + classes, wide, 3, padding=1, bias=first))
                self.hidden.append(nn.Conv2d(wide + classes, wide, 3, stride=2, padding=1, bias=False))
            else:
                padding = (kernel - 1) // 2
                self.hidden.append(nn.Conv2d(narrow + classes, wide, kernel, stride=2, padding=padding, bias=first))
        self.channels = channels = tuple(cast(nn.Conv2d, layer).out_channels for layer in self.hidden)
        # The first layer has none: it sees the images unnormalised.
        self.norms = nn.ModuleList(BatchNorm2d(count) if n else nn.Identity() for n, count in enumerate(channels))
        self.activations = nn.ModuleList(
            nn.LeakyReLU(LEAK) if activation == "leaky-relu" else nn.PReLU(count, init=LEAK) for count in channels
        )
        self.output = nn.Linear(widths[-1] * SMALLEST_MAPS[image_shape[1]] ** 2 + classes, 1)
        _initialise(self)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to the logit [N] of "real".

        In train mode N >= 2 and logits depend on the whole batch; in eval mode each depends on its own image only.

        Args:
            images: [N, C, H, W].
            labels: [N] int64 in [0, K) for a conditional discriminator, else None.
        """
        return self.logit(self.feature_maps(images, labels)[-1], labels)

    @torch.no_grad()
    def calibrate_statistics(self, images: Tensor, labels: Tensor | None = None) -> None:
        """Store the batch statistics of one large batch of real images [N, C, H, W], and switch to eval mode.

        Averaged weights need statistics of their own, and each image is judged alone in eval mode: without them its
        activations would be those of another network.
        """
        for norm in self.norms:
            if isinstance(norm, nn.BatchNorm2d):
                norm.momentum = None  # a plain mean, here over this one batch
                norm.reset_running_stats()
        self.train()
        self(images, labels)
        self.eval()

    def feature_maps(self, images: Tensor, labels: Tensor | None = None) -> list[Tensor]:
        """Map images [N, C, H, W] to every layer's maps [N, channels, h, w], after normalisation and activation."""
        one_hot = _one_hot(labels, self.classes, images.dtype)
        units, maps = images, []
        for layer, norm, activation in zip(self.hidden, self.norms, self.activations, strict=True):
            units = activation(norm(layer(_joined(units, one_hot))))
            maps.append(units)
        return maps

    def logit(self, last_maps: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map the last of the feature maps to the logit [N] of "real"."""
        return self.outputs(last_maps, labels)[:, 0]

    def outputs(self, last_maps: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map the last of the feature maps to what the linear layer puts out, [N, 1] unless it was replaced."""
        units = last_maps.flatten(1)
        one_hot = _one_hot(labels, self.classes, units.dtype)
        found: Tensor = self.output(units if one_hot is None else torch.cat((units, one_hot), dim=1))
        return found


def _widths(width: int, image_shape: tuple[int, int, int]) -> list[int]:
    """Return the discriminator's channels per side, from half the image's down to the smallest, each twice the last."""
    channels, height, wide = image_shape
    if height != wide or height not in SMALLEST_MAPS or channels not in (1, 3):
        raise DataError(
            f"DCGAN has no form for images of {wide} x {height} with {channels} channels: it needs 28 x 28, 32 x 32 or "
            f"64 x 64, grey or colour; load the images with one of these sizes"
        )
    layers = (height // SMALLEST_MAPS[height]).bit_length() - 1
    return [width << n for n in range(layers)]


def _doubling(inputs: int, outputs: int, kernel: Kernel, *, bias: bool) -> nn.ConvTranspose2d:
    """Return a fractionally strided convolution that doubles the side exactly."""
    return nn.ConvTranspose2d(
        inputs, outputs, kernel, stride=2, padding=(kernel - 1) // 2, output_padding=kernel % 2, bias=bias
    )


def _initialise(network: nn.Module) -> None:
    """Draw weights from N(0, 0.02^2) and scales of batch normalisation from N(1, 0.02^2); biases and shifts are 0."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0 if isinstance(module, nn.BatchNorm2d) else 0.0, DEVIATION)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _one_hot(labels: Tensor | None, classes: int, dtype: torch.dtype) -> Tensor | None:
    """Return the one-hot rows [N, K] of labels [N], None without classes; ValueError if only one of the two is given.

    Compares instead of calling `one_hot`, which synchronises a GPU to check the labels.
    """
    if (labels is None) != (classes == 0):
        expected = "no labels" if classes == 0 else f"labels in [0, {classes})"
        raise ValueError(f"the network was built with classes={classes}: expected {expected}")
    if labels is None:
        return None
    return (labels[:, None] == torch.arange(classes, device=labels.device)).to(dtype)


def _joined(units: Tensor, one_hot: Tensor | None) -> Tensor:
    """Append the label's planes [N, K, h, w] to maps [N, C, h, w], in the maps' memory format."""
    if one_hot is None:
        return units
    planes = one_hot[:, :, None, None].expand(-1, -1, *units.shape[2:])
    layout = torch.contiguous_format if units.is_contiguous() else torch.channels_last
    return torch.cat((units, planes.contiguous(memory_format=layout)), dim=1)
