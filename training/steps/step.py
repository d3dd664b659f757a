"""The protocol of a training step, and what steps share."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from training.errors import DivergedError
from training.steps.player import trained

CALIBRATION_STREAM = "settle"  # of latents for batch statistics; another name would draw others, and change the samples
Losses = dict[str, float]  # by name, in the order in which they are shown


def must_be_finite(losses: Losses, images_seen: int) -> None:
    """Stop a training whose losses are not finite.

    Raises:
        DivergedError: if one is not finite.
    """
    if not all(map(math.isfinite, losses.values())):
        words = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        raise DivergedError(f"after {images_seen} images a loss is no longer finite ({words})")


class Step(Protocol):
    """Trains a generator against a discriminator; equal (weights, images seen) give equal steps, bit for bit."""

    @property
    def generator(self) -> nn.Module:
        """The network that makes images, trained in place."""

    @property
    def discriminator(self) -> nn.Module:
        """The network that judges them, trained in place."""

    def initialise(self) -> None:
        """Set the initial weights that depend on data."""

    def __call__(self, images_seen: int, noise: torch.Generator, *, rate_share: float = 1.0) -> Losses:
        """Take one step and return its losses.

        Args:
            images_seen: real images that the run has consumed so far; chooses the batch.
            noise: generator of latents, dropout and noise.
            rate_share: factor of all learning rates, in [0, 1].
        """

    def calibrate(self, generator: nn.Module, discriminator: nn.Module) -> None:
        """Calibrate the statistics of averaged networks, and switch the generator to eval mode."""

    def generate(self, generator: nn.Module, latents: Tensor) -> Tensor:
        """Map latents [N, Z] to images [N, C, H, W] in [-1, 1]; if conditional, row i shows class i mod K."""

    def state(self) -> dict[str, Tensor]:
        """Return what the next step needs besides the weights, such as the optimisers' moments."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Continue from what `state` returned."""


@contextlib.contextmanager
def constant(network: nn.Module) -> Iterator[None]:
    """Inside the context, gradients flow through a network but are not computed for its weights."""
    weights = trained(network)
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
