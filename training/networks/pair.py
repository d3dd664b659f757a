"""The generator and the discriminator of one run together: what inverting an image needs, and explaining shows."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Pair(nn.Module):
    """A generator and its discriminator, called as the discriminator.

    Args:
        generator: latents [N, Z] -> images [N, C, H, W] in [-1, 1]; with classes it takes labels [N] too.
        discriminator: images -> the logit [N] of "real", or the logits [N, K] of K real classes, where that of
            "generated" is fixed at 0 (Salimans et al. 2016, section 5); with classes it takes labels [N] too.
        classes: K if both are conditioned on the class, else 0.
    """

    def __init__(self, generator: nn.Module, discriminator: nn.Module, *, classes: int = 0) -> None:
        super().__init__()
        self.generator = generator
        self.discriminator = discriminator
        self.classes = classes

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to logits [N, L]: one, or one for each class.

        They are the logit of "real"; of each class where the discriminator tells classes apart; of "real and of that
        class" where it is conditioned on the class.
        """
        if not self.classes:
            logits: Tensor = self.discriminator(images)
            return logits if logits.ndim > 1 else logits[:, None]
        rows = images.repeat_interleave(self.classes, dim=0)  # [N K, C, H, W]
        labels = torch.arange(self.classes, device=images.device).repeat(len(images))
        judged: Tensor = self.discriminator(rows, labels)
        return judged.view(-1, self.classes)
