"""What the loop needs of a training, whatever it trains, and the training that goes with a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from training.config import RunConfig
from training.data import LabelledImages
from training.loop.autoencoder import AutoencoderTraining
from training.loop.gan import GanTraining
from training.steps.step import Losses


class Training(Protocol):
    """Networks in the middle of their training; the same (config, data, images seen) is the same state, to the bit."""

    config: RunConfig
    images_seen: int
    losses: Losses | None  # of the latest step

    def advance(self) -> Losses:
        """Take one step; DivergedError if a loss is not finite."""

    def settle(self) -> None:
        """Bring what is served up to date with the present weights."""

    def collect(self) -> None:
        """In all processes at once: bring to the first whatever it is going to be asked for below."""

    def samples(self, count: int) -> NDArray[np.uint8]:
        """Return up to `count` pictures uint8 [N, H, W, C] of what was learned, none of them from the data."""

    def accuracy(self, data: LabelledImages) -> float | None:
        """Return the share of right answers, in [0, 1], or None where nothing classifies or nothing has labels."""

    def weights(self) -> dict[str, Tensor]:
        """Return every weight that is kept in the checkpoint, by its name there."""

    def state(self) -> dict[str, Tensor]:
        """Return what `restore` needs."""

    def restore(self, tensors: Mapping[str, Tensor], images_seen: int) -> None:
        """Go on from what `state` returned after so many images; RunError if it is that of another training."""


def begin(config: RunConfig, data: LabelledImages) -> Training:
    """Begin the training of a run.

    Raises:
        DataError: if the recipe's networks do not fit the images.
        RecipeError: if nothing of the recipe is trained step by step, or this machine cannot do what it says.
    """
    return AutoencoderTraining(config, data) if config.settings.detects else GanTraining(config, data)
