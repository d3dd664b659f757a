"""A linear layer on the top units of a sparse autoencoder, Le et al. 2012, section 5 (arXiv:1112.6209).

Softmax ignores a constant added to all scores of an image; it is chosen so that logsumexp_k l_k = 0. In the
convention of K + 1 classes p(generated) = 1 / (1 + sum_k exp l_k) is then 1/2: this network knows no generator.
"""

from __future__ import annotations

import math

from torch import Tensor, nn

from training.networks.features import pooled_units
from training.networks.sparse_autoencoder import SparseAutoencoder


class NeuronClassifier(nn.Module):
    """An autoencoder, and a linear layer on its top stage's units.

    Args:
        autoencoder: of any stages; its decoders are kept but not used.
        classes: K.
    """

    def __init__(self, autoencoder: SparseAutoencoder, *, classes: int) -> None:
        super().__init__()
        self.autoencoder = autoencoder
        self.linear = nn.Linear(math.prod(autoencoder.unit_shapes[-1]), classes)

    def forward(self, images: Tensor) -> Tensor:
        """Map images [N, C, H, W] in [-1, 1] to class logits [N, K], whose exponentials sum to 1."""
        return self._logits(self.autoencoder(images)[-1])

    @property
    def feature_count(self) -> int:
        """F, the number of maps of the top stage."""
        return self.autoencoder.unit_shapes[-1][0]

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images [N, C, H, W] in [-1, 1] to class logits [N, K] and the means of the top stage's maps [N, F]."""
        units = self.autoencoder(images)[-1]
        return self._logits(units), pooled_units(units)

    def _logits(self, units: Tensor) -> Tensor:
        logits: Tensor = self.linear(units.flatten(1)).log_softmax(dim=1)
        return logits
