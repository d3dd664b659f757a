"""A training in progress, as the loop sees it, whatever it trains."""

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
    """Networks in the middle of their training; the same (config, data, images seen) is the same state, to the bit."""

    config: RunConfig
    images_seen: int
    losses: Losses | None  # of the latest step

    def advance(self) -> Losses:
        """Take one step; DivergedError if a loss is not finite."""

    def calibrate(self) -> None:
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
