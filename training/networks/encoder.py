"""An encoder: image -> the latent that a generator would draw it from. The form is that of DCGAN's discriminator.

image -> strided convolutions with batch normalisation, each halving the side -> linear -> squashed into their range
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.networks.dcgan import DEVIATION, Discriminator, Kernel
from training.recipes import LatentDistribution

KERNEL: Kernel = 4


class Encoder(nn.Module):
    """Convolutions, and a linear layer on the last maps.

    Args:
        image_shape: (C, H, W) with C 1 or 3 and H = W 28, 32 or 64.
        width: channels of the first layer; they double where the side halves.
        latent_size: Z.
        distribution: of the latents; guesses lie in its range.
        classes: K if it is told the class of an image, else 0.

    Raises:
        DataError: if images of that shape are not supported.
    """

    def __init__(
        self,
        *,
        image_shape: tuple[int, int, int],
        width: int,
        latent_size: int,
        distribution: LatentDistribution,
        classes: int = 0,
    ) -> None:
        super().__init__()
        self.trunk = Discriminator(image_shape=image_shape, width=width, classes=classes, kernel=KERNEL)
        self.trunk.output = nn.Linear(self.trunk.output.in_features, latent_size)
        nn.init.normal_(self.trunk.output.weight, 0.0, DEVIATION)
        nn.init.zeros_(self.trunk.output.bias)
        self.distribution = distribution

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1], and labels [N] if it takes them, to latents [N, Z]."""
        guessed = self.trunk.outputs(self.trunk.feature_maps(images, labels)[-1], labels)
        if self.distribution == "normal":
            return guessed
        return torch.tanh(guessed) if self.distribution == "uniform11" else torch.sigmoid(guessed)

    def calibrate_statistics(self, images: Tensor, labels: Tensor | None = None) -> None:
        """Store the batch statistics of one large batch of images [N, C, H, W], and switch to eval mode."""
        self.trunk.calibrate_statistics(images, labels)
        self.eval()
