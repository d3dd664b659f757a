"""A small convolutional classifier, the student of another one.

    image -> (convolution, batch normalisation, ReLU) per width, the side halved after every other one -> linear -> K

The first kernel is 5 x 5, the others 3 x 3; the first, third and further odd layers end with the maximum of 2 x 2
pixels. Softmax ignores a constant added to all scores of an image; it is chosen so that logsumexp_k l_k = 0. In the
convention of K + 1 classes p(generated) = 1 / (1 + sum_k exp l_k) is then 1/2: this network knows no generator.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.layers import BatchNorm2d, Dropout
from training.networks.features import pooled_units

FIRST_KERNEL, KERNEL = 5, 3  # px


class Student(nn.Module):
    """Convolutions with batch normalisation, and a linear layer on the last maps.

    Args:
        image_shape: (C, H, W).
        widths: channels, layer by layer.
        classes: K.
        dropout: share of the last maps' units that are dropped in training.
    """

    def __init__(
        self, *, image_shape: tuple[int, int, int], widths: tuple[int, ...], classes: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        channels, height, width = image_shape
        self.hidden, self.norms = nn.ModuleList(), nn.ModuleList()
        for number, maps in enumerate(widths):
            kernel = KERNEL if number else FIRST_KERNEL
            # No bias before a normalisation, which subtracts it and adds its own shift.
            self.hidden.append(nn.Conv2d(channels, maps, kernel, padding=kernel // 2, bias=False))
            self.norms.append(BatchNorm2d(maps))
            channels = maps
            if _halves(number):
                height, width = (height + 1) // 2, (width + 1) // 2
        self.dropout = Dropout(dropout)
        self.linear = nn.Linear(channels * height * width, classes)
        self._feature_count = channels

    def forward(self, images: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to class logits [N, K], whose exponentials sum to 1.

        Units are dropped only if a generator is given.
        """
        return self._logits(self._maps(images), noise)

    @property
    def feature_count(self) -> int:
        """F, the number of maps of the last layer."""
        return self._feature_count

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images [N, C, H, W] in [-1, 1] to class logits [N, K] and the means of the last maps [N, F]."""
        maps = self._maps(images)
        return self._logits(maps, None), pooled_units(maps)

    @torch.no_grad()
    def calibrate_statistics(self, images: Tensor) -> None:
        """Store the batch statistics of one large batch of images [N, C, H, W], and switch to eval mode.

        Averaged weights need statistics of their own, of images as they are when the network serves: not distorted.
        """
        for norm in self.norms:
            cast(nn.BatchNorm2d, norm).momentum = None  # a plain mean, here over this one batch
            cast(nn.BatchNorm2d, norm).reset_running_stats()
        self.train()
        self(images)
        self.eval()

    def _maps(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] to the last maps [N, M, h, w]."""
        units = images
        for number, (layer, norm) in enumerate(zip(self.hidden, self.norms, strict=True)):
            units = functional.relu(norm(layer(units)))
            if _halves(number):
                units = functional.max_pool2d(units, 2, ceil_mode=True)
        return units

    def _logits(self, maps: Tensor, noise: torch.Generator | None) -> Tensor:
        scores = self.linear(self.dropout(maps.flatten(1), noise))
        logits: Tensor = scores.float().log_softmax(dim=1)
        return logits


def _halves(number: int) -> bool:
    """Return whether a layer, from 0, halves the side."""
    return number % 2 == 0
