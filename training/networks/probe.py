"""A classifier on the features of a GAN's discriminator, Radford et al. 2015, section 5 (arXiv:1511.06434).

Every convolution's maps are max-pooled to 4 x 4, flattened and concatenated, and a linear layer gives K scores. Where
the discriminator saw mirrored images, features are means over an image and its mirror image, which the paper's are not.
Softmax ignores a constant added to all scores of an image; it is chosen so that

    logsumexp_k l_k(x) = the discriminator's own logit z(x)

Then p(class k) = softmax(scores)_k, and p(generated) = 1 / (1 + sum_k exp l_k) = 1 - sigmoid(z(x)), which is the
discriminator's judgement: the one convention of K + 1 classes holds (Salimans et al. 2016, section 5).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.networks.dcgan import Discriminator

GRID = 4  # cells from side to side that a map is pooled to


class ProbeClassifier(nn.Module):
    """A discriminator without labels, and a linear layer on its pooled maps.

    Args:
        discriminator: unconditional, of any width and layout. The classifier keeps it in eval mode, unchanged.
        classes: K, the number of real classes.
        mirror: whether features are means over an image and its mirror image.
    """

    def __init__(self, discriminator: Discriminator, *, classes: int, mirror: bool = False) -> None:
        super().__init__()
        self._mirror = mirror
        self.discriminator = discriminator.eval()
        self.linear = nn.Linear(feature_count(discriminator), classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to class logits [N, K]."""
        return self._logits(images, self.discriminator.feature_maps(images))

    @property
    def feature_count(self) -> int:
        """F, the number of maps of all layers."""
        return sum(self.discriminator.channels)

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images [N, C, H, W] in [-1, 1] to class logits [N, K] and the largest number of every map [N, F].

        The linear layer sees the maximum of each of a map's 16 cells, too many numbers for a covariance.
        """
        maps = self.discriminator.feature_maps(images)
        return self._logits(images, maps), torch.cat([each.amax(dim=(2, 3)) for each in maps], dim=1)

    def _logits(self, images: Tensor, maps: list[Tensor]) -> Tensor:
        features = probe_features(self.discriminator, images, maps, mirror=self._mirror)
        shares = self.linear(features).log_softmax(dim=1)  # logsumexp 0
        logits: Tensor = shares + self.discriminator.logit(maps[-1])[:, None]
        return logits

    def train(self, mode: bool = True) -> ProbeClassifier:
        """Set the mode of the linear layer; the discriminator stays in eval mode."""
        super().train(mode)
        self.discriminator.eval()
        return self


def pooled(maps: list[Tensor]) -> Tensor:
    """Map feature maps [N, c, h, h] to features [N, 16 sum c], each the maximum of a cell of a 4 x 4 grid."""
    return torch.cat(
        [functional.adaptive_max_pool2d(each, GRID).flatten(1) for each in maps],
        dim=1,
    )


def probe_features(discriminator: Discriminator, images: Tensor, maps: list[Tensor], *, mirror: bool) -> Tensor:
    """Return the features [N, F] of images [N, C, H, W] whose maps are given, or means over them and mirror images."""
    features = pooled(maps)
    return (features + pooled(discriminator.feature_maps(images.flip(3)))) / 2 if mirror else features


def feature_count(discriminator: Discriminator) -> int:
    """Return the number of features that `pooled` makes of a discriminator's maps."""
    return GRID**2 * sum(discriminator.channels)
