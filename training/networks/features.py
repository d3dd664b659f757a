"""The features that a network looks at an image with: what two sets of images are compared by.

They are the layer before the last, one row an image, as `training.losses.feature_matching_loss` compares them.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

MAX_FEATURES = 4096  # of an image; a covariance of more takes minutes and gigabytes


@runtime_checkable
class FeatureClassifier(Protocol):
    """A classifier that shows its features beside its logits, at the price of one forward pass."""

    @property
    def feature_count(self) -> int:
        """F, the number of features of an image."""

    def logits_and_features(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Map images [N, C, H, W] in [-1, 1] to class logits [N, K] and features [N, F], without noise."""


def pooled_units(units: Tensor) -> Tensor:
    """Map units [N, M, H, W] of a stage to features [N, M]: each map's mean over its places."""
    return units.mean(dim=(2, 3))
