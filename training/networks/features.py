"""The features of an image, by which two sets of images are compared.

They are the layer before the last, one row per image, as in `training.losses.feature_matching_loss`.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

MAX_FEATURES = 4096  # per image; a larger covariance takes minutes and gigabytes


@runtime_checkable
class FeatureClassifier(Protocol):
    """A classifier that returns features and logits from one forward pass."""

    @property
    def feature_count(self) -> int:
        """F, the number of features of an image."""

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images [N, C, H, W] in [-1, 1] to class logits [N, K] and features [N, F], without noise."""


def pooled_units(units: Tensor) -> Tensor:
    """Map units [N, M, H, W] of a stage to features [N, M]: each map's mean over its places."""
    return units.mean(dim=(2, 3))
