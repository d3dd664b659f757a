"""The fully connected K+1 pair for digits, Salimans et al. 2016, section 5.1 (arXiv:1606.03498).

The discriminator has K logits, one a real class; the logit of the (K+1)th class, "generated", is fixed at 0. So
p(generated) = 1 / (1 + sum_k exp l_k), and the classifier that is served is the same network without its noise.
"""

from __future__ import annotations

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.layers import GaussianNoise, ShiftOnlyBatchNorm, WeightNormLinear, uniform_glorot


class Generator(nn.Module):
    """Latent -> (linear, batch norm, softplus) a width -> weight-normalised linear -> sigmoid -> image.

    Args:
        latent_size: length of the latent vector; 100 in the paper.
        widths: hidden units, layer by layer; 500 and 500 in the paper.
        image_shape: (C, H, W).
    """

    def __init__(self, *, latent_size: int, widths: tuple[int, ...], image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        sizes = (latent_size, *widths)
        # No bias: batch normalisation subtracts it and adds its own shift.
        self.hidden = nn.ModuleList(
            uniform_glorot(nn.Linear(size, width, bias=False)) for size, width in zip(sizes, widths, strict=False)
        )
        self.norms = nn.ModuleList(ShiftOnlyBatchNorm(width) for width in widths)
        self.output = WeightNormLinear(sizes[-1], math.prod(image_shape), scale="trained")
        self.image_shape = image_shape

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents [N, Z] to images [N, C, H, W] in [-1, 1].

        In train mode N >= 2 and images depend on the whole batch; in eval mode each depends on its own latent only.
        """
        units = latents
        for linear, norm in zip(self.hidden, self.norms, strict=True):
            units = functional.softplus(norm(linear(units)))
        pixels: Tensor = torch.sigmoid(self.output(units))
        images = 2 * pixels - 1
        return images.view(-1, *self.image_shape)

    @torch.no_grad()
    def settle_statistics(self, latents: Tensor) -> None:
        """Store the batch statistics of one large batch of latents [N, Z], and switch to eval mode.

        Averaged weights have no statistics of their own: those gathered in training belong to other weights.
        """
        for norm in self.norms:
            cast(ShiftOnlyBatchNorm, norm).momentum = None  # a plain mean, here over this one batch
            cast(ShiftOnlyBatchNorm, norm).reset_running_stats()
        self.train()
        self(latents)
        self.eval()


class Discriminator(nn.Module):
    """Image -> (noise, weight-normalised linear with frozen g, ReLU) a width -> noise -> K logits.

    Args:
        image_shape: (C, H, W).
        widths: hidden units, layer by layer; 1000, 500, 250, 250, 250 in the paper.
        classes: K, the number of real classes.
        input_noise: standard deviation of the noise on pixels in [0, 1]; 0.3 in the paper.
        hidden_noise: standard deviation of the noise on hidden units; 0.5 in the paper.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        widths: tuple[int, ...],
        classes: int,
        input_noise: float,
        hidden_noise: float,
    ) -> None:
        super().__init__()
        sizes = (math.prod(image_shape), *widths)
        self.hidden = nn.ModuleList(
            WeightNormLinear(size, width, scale="frozen") for size, width in zip(sizes, widths, strict=False)
        )
        self.noises = nn.ModuleList(GaussianNoise(input_noise if n == 0 else hidden_noise) for n in range(len(sizes)))
        self.output = WeightNormLinear(sizes[-1], classes, scale="trained")

    def features(self, images: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to the last hidden units [N, F], before the noise on them."""
        units = (images.flatten(1) + 1) / 2
        for layer, add_noise in zip(self.hidden, self.noises, strict=False):
            units = functional.relu(layer(add_noise(units, noise)))
        return units

    def forward(self, images: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to class logits [N, K]; noise only where a generator for it is given."""
        logits: Tensor = self.output(self.noises[-1](self.features(images, noise), noise))
        return logits

    @torch.no_grad()
    def initialise_from(self, images: Tensor, noise: torch.Generator) -> None:
        """Set every scale and bias from a batch of training images [N, C, H, W], layer by layer, with the noise on."""
        units = (images.flatten(1) + 1) / 2
        for layer, add_noise in zip(self.hidden, self.noises, strict=False):
            units = functional.relu(cast(WeightNormLinear, layer).initialise_from(add_noise(units, noise)))
        self.output.initialise_from(self.noises[-1](units, noise))
