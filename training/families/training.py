"""The protocol of a training in progress, which the loop drives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.config import RunConfig
from training.data import LabelledImages
from training.steps.step import Losses


class Training(Protocol):
    """Networks in training; equal (config, data, images seen) mean equal states, bit for bit."""

    config: RunConfig
    images_seen: int
    losses: Losses | None  # of the latest step

    def advance(self) -> Losses:
        """Take one step; DivergedError if a loss is not finite."""

    def calibrate(self) -> None:
        """Update batch statistics and the like, so that the averaged networks can be saved and served."""

    def collect(self) -> None:
        """Gather in the first process what the methods below return; every process calls it."""

    def samples(self, count: int) -> NDArray[np.uint8]:
        """Return sample pictures uint8 [N, H, W, C], N <= count, made from the weights alone."""

    def accuracy(self, data: LabelledImages) -> float | None:
        """Return the accuracy in [0, 1], or None without a classifier or without labels."""

    def weights(self) -> dict[str, Tensor]:
        """Return all weights of the checkpoint, by name."""

    def state(self) -> dict[str, Tensor]:
        """Return all that `restore` needs."""

    def restore(self, tensors: Mapping[str, Tensor], images_seen: int) -> None:
        """Continue from what `state` returned after `images_seen` images; RunError if it is another training's."""
