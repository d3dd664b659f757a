"""The convolutional K+1 pair for images of 32 x 32, Salimans et al. 2016, sections 5.2 and 5.3 (arXiv:1606.03498).

Sizes are those of the authors' code: widths 96 and 192 of the discriminator for CIFAR-10, 64 and 128 for SVHN. As in
`training.networks.improved_gan` the logit of "generated" is fixed at 0, and the methods are the same.

    generator        z -> 512 4x4 -> 256 8x8 -> 128 16x16 -> C 32x32
    discriminator    C 32x32 -> 96 -> 96 -> 96 16x16 -> 192 -> 192 -> 192 8x8 -> 192 6x6 -> 192 -> 192 -> mean -> K
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.errors import DataError, RecipeError
from training.layers import (
    Dropout,
    GaussianNoise,
    MinibatchDiscrimination,
    WeightNormConv2d,
    WeightNormConvTranspose2d,
    WeightNormLinear,
)
from training.networks.improved_gan import FeatureDiscriminator, Norm, NormalisedGenerator

SIDE = 32  # px
FIRST_SIDE = 4  # px of the generator's first maps, doubled three times to SIDE
DIRECTION_STD = 0.05
OUTPUT_DEVIATION = 0.1  # of initial logits, and of pixels before tanh; hidden units have 1, as in the authors' code
LEAK = 0.2


class Generator(NormalisedGenerator):
    """Latent -> linear to 4 x 4 maps -> transposed convolutions of 5 x 5, each doubling the side -> tanh -> image.

    Hidden layers have batch normalisation without a scale, then ReLU; the last is weight-normalised.

    Args:
        latent_size: length of the latent vector; 100 in the paper.
        widths: channels of the maps of 4, 8 and 16 px; 512, 256 and 128 in the paper.
        image_shape: (C, 32, 32).
        norm: see `NormalisedGenerator`.
        reference_latents: see `NormalisedGenerator`.

    Raises:
        DataError: if images of that shape cannot be generated.
        RecipeError: if there are not three widths.
    """

    def __init__(
        self,
        *,
        latent_size: int,
        widths: tuple[int, ...] = (512, 256, 128),
        image_shape: tuple[int, int, int],
        norm: Norm = "batch",
        reference_latents: Tensor | None = None,
    ) -> None:
        super().__init__(latent_size=latent_size, norm=norm, reference_latents=reference_latents)
        _check(image_shape)
        if len(widths) != 3:
            raise RecipeError(f"the generator has {len(widths)} widths, expected 3: of its maps of 4, 8 and 16 px")
        # No bias before a normalisation, which subtracts it and adds its own shift.
        self.project = nn.Linear(latent_size, widths[0] * FIRST_SIDE**2, bias=False)
        self.hidden = nn.ModuleList(
            nn.ConvTranspose2d(wide, narrow, 5, stride=2, padding=2, output_padding=1, bias=False)
            for wide, narrow in itertools.pairwise(widths)
        )
        self.norms = self._norms((widths[0] * FIRST_SIDE**2, *widths[1:]))
        self.output = WeightNormConvTranspose2d(
            widths[-1],
            image_shape[0],
            5,
            scale="trained",
            stride=2,
            padding=2,
            output_padding=1,
            direction_std=DIRECTION_STD,
        )
        for layer in (self.project, *self.hidden):
            nn.init.normal_(cast(Tensor, layer.weight), std=DIRECTION_STD)

    def images(self, latents: Tensor) -> Tensor:
        """Map latents [N, Z] to images [N, C, H, W]; see `forward`."""
        return torch.tanh(self.output(self._maps(latents)))

    @torch.no_grad()
    def initialise_from(self, latents: Tensor) -> None:
        """Set the output's scale and bias from latents [N, Z], so that pixels start grey with a deviation of 0.1.

        With virtual batch normalisation the reference batch is used instead of the latents.
        """
        self.train()
        reference = self.norm == "virtual"
        maps = self._maps(torch.cat([self.reference_latents, latents[:1]]) if reference else latents)
        self.output.initialise_from(maps, deviation=OUTPUT_DEVIATION)

    def _maps(self, latents: Tensor) -> Tensor:
        """Map latents [N, Z] to the last hidden maps [N, 128, 16, 16]."""
        units = self.norms[0](self.project(latents))
        maps = functional.relu(units.view(len(units), -1, FIRST_SIDE, FIRST_SIDE))
        for layer, norm in zip(self.hidden, list(self.norms)[1:], strict=True):
            maps = functional.relu(norm(layer(maps)))
        return maps


class Discriminator(FeatureDiscriminator):
    """Image -> three blocks of (dropout, three weight-normalised convolutions with frozen g) -> mean -> K logits.

    The first two blocks have 3 x 3 kernels and halve the side at their end; the third has one 3 x 3 without padding and
    two 1 x 1 ("network in network"). LeakyReLU of slope 0.2 follows each.

    With minibatch discrimination (section 3.2) closeness to the other images is appended to the pooled features, and
    Gaussian noise replaces dropout on pixels, as in the authors' code. Training and evaluation with it differ as in
    `training.networks.improved_gan.Discriminator`.

    Args:
        image_shape: (C, 32, 32).
        widths: channels of the first block, and of the other two; 96 and 192 for CIFAR-10, 64 and 128 for SVHN.
        classes: K, the number of real classes.
        input_noise: share of the pixels that are dropped; with minibatch discrimination the standard deviation of the
            noise on pixels in [-1, 1]; 0.2 for both in the authors' code.
        hidden_noise: share of hidden units that are dropped before the second and third block; 0.5 in the authors'
            code.
        minibatch_kernels: B of minibatch discrimination, 0 for none.
        minibatch_dimensions: C of minibatch discrimination.

    Raises:
        DataError: if images of that shape are not supported.
        RecipeError: if there are not two widths.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        widths: tuple[int, ...] = (96, 192),
        classes: int,
        input_noise: float = 0.2,
        hidden_noise: float = 0.5,
        minibatch_kernels: int = 0,
        minibatch_dimensions: int = 5,
    ) -> None:
        super().__init__()
        _check(image_shape)
        if len(widths) != 2:
            raise RecipeError(
                f"the discriminator has {len(widths)} widths, expected 2: of its first block and the others"
            )
        first, last = widths
        self.noises = nn.ModuleList(
            [
                GaussianNoise(input_noise) if minibatch_kernels else Dropout(input_noise),
                Dropout(hidden_noise),
                Dropout(hidden_noise),
            ]
        )
        self.blocks = nn.ModuleList(
            [
                _halving(image_shape[0], first),
                _halving(first, last),
                nn.ModuleList([_convolution(last, last, 3), _convolution(last, last, 1), _convolution(last, last, 1)]),
            ]
        )
        self.minibatch = (
            MinibatchDiscrimination(last, kernels=minibatch_kernels, dimensions=minibatch_dimensions)
            if minibatch_kernels
            else None
        )
        self.output = WeightNormLinear(last + minibatch_kernels, classes, scale="trained", direction_std=DIRECTION_STD)
        self._feature_count = last

    def features(self, images: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Map images [N, C, 32, 32] in [-1, 1] to the last maps' means [N, F], before minibatch discrimination."""
        return self._features(images, noise, lambda layer, inputs: cast(Tensor, layer(inputs)))

    def forward(self, images: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Map images [N, C, 32, 32] in [-1, 1] to class logits [N, K]; noise is added only if a generator is given."""
        return self._logits(self.features(images, noise), noise)

    @torch.no_grad()
    def initialise_from(self, images: Tensor, noise: torch.Generator) -> None:
        """Set scales and biases from training images [N, C, 32, 32], layer by layer, with noise.

        Hidden units get variance 1 over the batch, logits a deviation of 0.1.
        """
        units = self._features(images, noise, lambda layer, inputs: layer.initialise_from(inputs))
        if self.minibatch is not None:
            units = self.minibatch.initialise_from(units)
        self.output.initialise_from(units, deviation=OUTPUT_DEVIATION)
        self.store_reference(images)

    def _features(
        self, images: Tensor, noise: torch.Generator | None, apply: Callable[[WeightNormConv2d, Tensor], Tensor]
    ) -> Tensor:
        maps = images
        for add_noise, block in zip(self.noises, self.blocks, strict=True):
            maps = add_noise(maps, noise)
            for layer in cast(nn.ModuleList, block):
                maps = functional.leaky_relu(apply(cast(WeightNormConv2d, layer), maps), LEAK)
        return maps.mean(dim=(2, 3))


def _halving(channels: int, width: int) -> nn.ModuleList:
    """Build three convolutions of 3 x 3, the last of which halves the side."""
    return nn.ModuleList(
        [
            _convolution(channels, width, 3, padding=1),
            _convolution(width, width, 3, padding=1),
            _convolution(width, width, 3, padding=1, stride=2),
        ]
    )


def _convolution(channels: int, width: int, kernel: int, *, padding: int = 0, stride: int = 1) -> WeightNormConv2d:
    return WeightNormConv2d(
        channels, width, kernel, scale="frozen", stride=stride, padding=padding, direction_std=DIRECTION_STD
    )


def _check(image_shape: tuple[int, int, int]) -> None:
    """Refuse images that are not 32 x 32.

    Raises:
        DataError: if they are of another size.
    """
    _, height, width = image_shape
    if (height, width) != (SIDE, SIDE):
        raise DataError(
            f"images are {height} x {width} px, but the convolutional K+1 networks are for {SIDE} x {SIDE}: "
            f"resize the images, or take a recipe with fully connected networks"
        )
