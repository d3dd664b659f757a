"""The fully connected K+1 pair for digits, Salimans et al. 2016, section 5.1 (arXiv:1606.03498).

The discriminator has K logits, one per real class; the logit of the (K+1)th class, "generated", is fixed at 0. So
p(generated) = 1 / (1 + sum_k exp l_k), and the classifier that is served is the same network without its noise.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.layers import (
    GaussianNoise,
    MinibatchDiscrimination,
    ShiftOnlyBatchNorm,
    VirtualBatchNorm,
    WeightNormLinear,
    uniform_glorot,
)

Norm = Literal["batch", "virtual"]
REFERENCE_SIZE = 100  # latents of the default reference batch; a training batch has as many
REFERENCE_SEED = 2016


class NormalisedGenerator(nn.Module):
    """Base of the paper's generators: hidden layers are normalised by their batch, or by a reference batch.

    Args:
        latent_size: length of the latent vector.
        norm: "batch" is batch normalisation, "virtual" that of section 3.6, independent of the rest of the batch.
        reference_latents: [R, Z] of the reference batch of "virtual", stored with the weights; None draws 100 from
            U(0, 1), the paper's distribution, with a fixed seed.
    """

    norms: nn.ModuleList
    reference_latents: Tensor

    def __init__(self, *, latent_size: int, norm: Norm, reference_latents: Tensor | None) -> None:
        super().__init__()
        self.norm = norm
        if norm == "virtual":
            if reference_latents is None:
                seeded = torch.Generator().manual_seed(REFERENCE_SEED)
                reference_latents = torch.rand(REFERENCE_SIZE, latent_size, generator=seeded)
            self.register_buffer("reference_latents", reference_latents.clone())

    @abstractmethod
    def images(self, latents: Tensor) -> Tensor:
        """Map latents [N, Z] to images [N, C, H, W]; with "virtual" in train mode the reference comes first."""

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents [N, Z] to images [N, C, H, W] in [-1, 1].

        In eval mode an image depends on its own latent only, and with virtual batch normalisation in train mode too.
        With batch normalisation in train mode N >= 2 and images depend on the whole batch.
        """
        if self.norm == "virtual" and self.training:
            return self.images(torch.cat([self.reference_latents, latents]))[len(self.reference_latents) :]
        return self.images(latents)

    def initialise_from(self, latents: Tensor) -> None:
        """Set the initial weights that depend on latents [N, Z]; by default there are none."""

    @torch.no_grad()
    def calibrate_statistics(self, latents: Tensor) -> None:
        """Store the batch statistics of one large batch of latents [N, Z], and switch to eval mode.

        Averaged weights need statistics of their own: those gathered in training belong to other weights. With virtual
        batch normalisation they are those of the reference batch, whatever the latents.
        """
        for norm in self.norms:
            if isinstance(norm, ShiftOnlyBatchNorm):
                norm.reset_statistics()
        self.train()
        self(latents if self.norm == "batch" else latents[:1])
        self.eval()

    def _norms(self, widths: Sequence[int]) -> nn.ModuleList:
        """Build the normalisation of each hidden layer."""
        if self.norm == "batch":
            return nn.ModuleList(ShiftOnlyBatchNorm(width) for width in widths)
        size = len(self.reference_latents)
        return nn.ModuleList(VirtualBatchNorm(width, reference_size=size) for width in widths)


class Generator(NormalisedGenerator):
    """Latent -> (linear, batch norm, softplus) per width -> weight-normalised linear -> sigmoid -> image.

    Args:
        latent_size: length of the latent vector; 100 in the paper.
        widths: hidden units, layer by layer; 500 and 500 in the paper.
        image_shape: (C, H, W).
        norm: see `NormalisedGenerator`; "batch" in the paper's code for digits.
        reference_latents: see `NormalisedGenerator`.
    """

    def __init__(
        self,
        *,
        latent_size: int,
        widths: tuple[int, ...],
        image_shape: tuple[int, int, int],
        norm: Norm = "batch",
        reference_latents: Tensor | None = None,
    ) -> None:
        super().__init__(latent_size=latent_size, norm=norm, reference_latents=reference_latents)
        sizes = (latent_size, *widths)
        # No bias: batch normalisation subtracts it and adds its own shift.
        self.hidden = nn.ModuleList(
            uniform_glorot(nn.Linear(size, width, bias=False)) for size, width in zip(sizes, widths, strict=False)
        )
        self.norms = self._norms(widths)
        self.output = WeightNormLinear(sizes[-1], math.prod(image_shape), scale="trained")
        self.image_shape = image_shape

    def images(self, latents: Tensor) -> Tensor:
        """Map latents [N, Z] to images [N, C, H, W]; see `forward`."""
        units = latents
        for linear, norm in zip(self.hidden, self.norms, strict=True):
            units = functional.softplus(norm(linear(units)))
        pixels: Tensor = torch.sigmoid(self.output(units))
        images = 2 * pixels - 1
        return images.view(-1, *self.image_shape)


class FeatureDiscriminator(nn.Module):
    """A discriminator whose logits come from its features, with minibatch discrimination between them if it has any."""

    minibatch: MinibatchDiscrimination | None
    output: WeightNormLinear
    _feature_count: int

    @abstractmethod
    def features(self, images: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to features [N, F]; noise is added only if a generator is given."""

    @property
    def feature_count(self) -> int:
        """F, the number of features of an image."""
        return self._feature_count

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images [N, C, H, W] in [-1, 1] to class logits [N, K] and `features` [N, F], without noise."""
        features = self.features(images)
        return self._logits(features, None), features

    def _logits(self, units: Tensor, noise: torch.Generator | None) -> Tensor:
        if self.minibatch is not None:
            units = self.minibatch.among_reference(units) if noise is None else self.minibatch(units)
        logits: Tensor = self.output(units)
        return logits

    @torch.no_grad()
    def store_reference(self, images: Tensor) -> None:
        """Store real images [N, C, H, W] as the reference of minibatch discrimination in evaluation, if it is used.

        They are stored as features of the current weights: store them again after training or averaging.
        """
        if self.minibatch is not None:
            self.minibatch.store_reference(self.features(images[: len(self.minibatch.reference)]))


class Discriminator(FeatureDiscriminator):
    """Image -> (noise, weight-normalised linear with frozen g, ReLU) per width -> noise -> K logits.

    With minibatch discrimination (section 3.2) closeness to the other images is appended to the last hidden units. A
    call in training (with noise) must then be given images of one kind, all real or all generated. A call in evaluation
    (without noise) compares each image with the same stored real images instead of its neighbours, so its answer does
    not depend on them; `store_reference` stores them.

    Args:
        image_shape: (C, H, W).
        widths: hidden units, layer by layer; 1000, 500, 250, 250, 250 in the paper.
        classes: K, the number of real classes.
        input_noise: standard deviation of the noise on pixels in [0, 1]; 0.3 in the paper.
        hidden_noise: standard deviation of the noise on hidden units; 0.5 in the paper.
        minibatch_kernels: B of minibatch discrimination, 0 for none.
        minibatch_dimensions: C of minibatch discrimination.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        widths: tuple[int, ...],
        classes: int,
        input_noise: float,
        hidden_noise: float,
        minibatch_kernels: int = 0,
        minibatch_dimensions: int = 5,
    ) -> None:
        super().__init__()
        sizes = (math.prod(image_shape), *widths)
        self.hidden = nn.ModuleList(
            WeightNormLinear(size, width, scale="frozen") for size, width in zip(sizes, widths, strict=False)
        )
        self.noises = nn.ModuleList(GaussianNoise(input_noise if n == 0 else hidden_noise) for n in range(len(sizes)))
        self.minibatch = (
            MinibatchDiscrimination(sizes[-1], kernels=minibatch_kernels, dimensions=minibatch_dimensions)
            if minibatch_kernels
            else None
        )
        self.output = WeightNormLinear(sizes[-1] + minibatch_kernels, classes, scale="trained")
        self._feature_count = sizes[-1]

    def features(self, images: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to the last hidden units [N, F], before the noise on them."""
        units = (images.flatten(1) + 1) / 2
        for layer, add_noise in zip(self.hidden, self.noises, strict=False):
            units = functional.relu(layer(add_noise(units, noise)))
        return units

    def forward(self, images: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to class logits [N, K]; noise is added only if a generator is given."""
        return self._logits(self.noises[-1](self.features(images, noise), noise), noise)

    @torch.no_grad()
    def initialise_from(self, images: Tensor, noise: torch.Generator) -> None:
        """Set scales and biases from training images [N, C, H, W], layer by layer, with noise."""
        units = (images.flatten(1) + 1) / 2
        for layer, add_noise in zip(self.hidden, self.noises, strict=False):
            units = functional.relu(cast(WeightNormLinear, layer).initialise_from(add_noise(units, noise)))
        units = self.noises[-1](units, noise)
        if self.minibatch is not None:
            units = self.minibatch.initialise_from(units)
        self.output.initialise_from(units)
        self.store_reference(images)
