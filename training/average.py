"""The running average of a network's weights; the average is what is served."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class Average(Generic[Network]):
    """An exponential moving average of a network's parameters whose memory grows with the run.

    After n images the half-life is `share * n`, so the average forgets the beginning of short and long runs alike and
    does not need to know the run's length.

    Args:
        network: the network to average; its current weights are the first average.
        share: half-life as a fraction of the images seen so far, in [0, 1]; 0 keeps the current weights.
    """

    def __init__(self, network: Network, *, share: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.share = share
        self._averages: list[Tensor] = list(self.network.parameters())
        self._weights: list[Tensor] = list(network.parameters())

    @torch.no_grad()
    def update(self, *, batch_images: int, images_seen: int) -> None:
        """Move the average towards the current weights after a step.

        Args:
            batch_images: images of that step.
            images_seen: images of the run so far, that step's included.
        """
        half_life = self.share * images_seen
        keep = 0.5 ** (batch_images / half_life) if half_life > 0 else 0.0
        torch._foreach_lerp_(self._averages, self._weights, 1.0 - keep)
