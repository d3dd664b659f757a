"""The fully connected pair of the first GAN, Goodfellow et al. 2014, section 5 (arXiv:1406.2661).

A generator of rectified units against a discriminator of maxout units with dropout. Sizes are those of the authors'
code for MNIST; both accept other image sizes unchanged.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.layers import Dropout, Maxout

MARGIN = 1e-7  # mean pixels are clamped to [MARGIN, 1 - MARGIN] before the logit, as in the authors' code


class Generator(nn.Module):
    """Latent -> (linear, ReLU) per width -> linear -> sigmoid -> image.

    Args:
        latent_size: length of the latent vector; 100 in the authors' code.
        widths: hidden units, layer by layer; 1200 and 1200 in the authors' code.
        image_shape: (C, H, W).
        weight_range: r; first weights are drawn from U(-r, r), first biases are 0.
        latent_scale: factor of latents: sqrt(3) for U(-1, 1) gives the authors' U(-sqrt 3, sqrt 3).
    """

    def __init__(
        self,
        *,
        latent_size: int,
        widths: tuple[int, ...] = (1200, 1200),
        image_shape: tuple[int, int, int],
        weight_range: float = 0.05,
        latent_scale: float = 1.0,
    ) -> None:
        super().__init__()
        sizes = (latent_size, *widths)
        self.hidden = nn.ModuleList(
            _uniform(nn.Linear(size, width), weight_range) for size, width in zip(sizes, widths, strict=False)
        )
        self.output = _uniform(nn.Linear(sizes[-1], math.prod(image_shape)), weight_range)
        self.image_shape = image_shape
        self.latent_scale = latent_scale

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents [N, Z] to images [N, C, H, W] in [-1, 1]; an image depends on its own latent only."""
        units = self.latent_scale * latents
        for linear in self.hidden:
            units = functional.relu(linear(units))
        pixels: Tensor = torch.sigmoid(self.output(units))
        return (2 * pixels - 1).view(-1, *self.image_shape)

    @torch.no_grad()
    def constrain(self, largest_norm: float) -> None:
        """Shorten weight vectors longer than `largest_norm`, after a step; 1.9365 in the authors' code for faces."""
        for linear in (*self.hidden, self.output):
            cast(nn.Linear, linear).weight.renorm_(2, 0, largest_norm)

    @torch.no_grad()
    def initialise_from(self, images: Tensor) -> None:
        """Set the output biases so that latents of 0 give the mean of training images [N, C, H, W] in [-1, 1].

        A pixel's bias is the logit of its mean in [0, 1]; hidden biases start at 0.
        """
        mean = (images.double().flatten(1).mean(dim=0) + 1) / 2
        self.output.bias.copy_(torch.logit(mean, eps=MARGIN))

    def calibrate_statistics(self, latents: Tensor) -> None:
        """Switch to eval mode; without batch normalisation there are no statistics to store."""
        self.eval()


class Discriminator(nn.Module):
    """Image -> (dropout, maxout) per width -> dropout -> linear -> one logit.

    Args:
        image_shape: (C, H, W).
        units: maxout units, layer by layer; 240 and 240 in the authors' code.
        pieces: linear pieces of each maxout unit; 5 in the authors' code.
        weight_range: r; first weights are drawn from U(-r, r), first biases are 0.
        keep_input: share of pixels that dropout keeps, scaled by its inverse; 0.8 in the authors' code.
        keep_hidden: the same for hidden units; 0.5 in the authors' code.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        units: tuple[int, ...] = (240, 240),
        pieces: int = 5,
        weight_range: float = 0.005,
        keep_input: float = 0.8,
        keep_hidden: float = 0.5,
    ) -> None:
        super().__init__()
        sizes = (math.prod(image_shape), *units)
        self.dropouts = nn.ModuleList(
            Dropout(1 - (keep_input if number == 0 else keep_hidden)) for number in range(len(sizes))
        )
        self.hidden = nn.ModuleList(Maxout(size, width, pieces) for size, width in zip(sizes, units, strict=False))
        self.output = nn.Linear(sizes[-1], 1)
        for linear in self._linears():
            _uniform(linear, weight_range)

    def forward(self, images: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to the logits [N] of being real, not generated.

        Args:
            images: [N, C, H, W] in [-1, 1]; the network rescales them to [0, 1].
            noise: generator of dropout; None for evaluation, without dropout.
        """
        units = (images.flatten(1) + 1) / 2
        for dropout, layer in zip(self.dropouts, self.hidden, strict=False):
            units = layer(dropout(units, noise))
        logits: Tensor = self.output(self.dropouts[-1](units, noise))
        return logits[:, 0]

    @torch.no_grad()
    def constrain(self, largest_norm: float) -> None:
        """Shorten weight vectors longer than `largest_norm`, after a step; 1.9365 in the authors' code for faces."""
        for linear in self._linears():
            linear.weight.renorm_(2, 0, largest_norm)

    def _linears(self) -> list[nn.Linear]:
        return [module for module in self.modules() if isinstance(module, nn.Linear)]


def _uniform(linear: nn.Linear, weight_range: float) -> nn.Linear:
    """Draw a layer's weights from U(-r, r), with zero bias, and return it."""
    nn.init.uniform_(linear.weight, -weight_range, weight_range)
    nn.init.zeros_(linear.bias)
    return linear
