"""What the steps of all families share: the protocol that the loop needs, and how one network is held still."""

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
    """Refuse to go on with losses that no step should be taken with.

    Raises:
        DivergedError: if one is not finite.
    """
    if not all(map(math.isfinite, losses.values())):
        words = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
        raise DivergedError(f"after {images_seen} images a loss is no longer finite ({words})")


class Step(Protocol):
    """A generator's training against a discriminator; the same (weights, images seen) give the same step."""

    @property
    def generator(self) -> nn.Module:
        """The network that makes images, trained in place."""

    @property
    def discriminator(self) -> nn.Module:
        """The network that judges them, trained in place."""

    def initialise(self) -> None:
        """Set what depends on the data in fresh weights."""

    def __call__(self, images_seen: int, noise: torch.Generator, *, rate_share: float = 1.0) -> Losses:
        """Take one step and return its losses.

        Args:
            images_seen: real images that the run has consumed so far; chooses the batch.
            noise: where latents, dropout and noise are drawn from.
            rate_share: what all learning rates are multiplied with, in [0, 1].
        """

    def calibrate(self, generator: nn.Module, discriminator: nn.Module) -> None:
        """Give averaged networks the statistics that go with their weights, and switch the generator to eval mode."""

    def generate(self, generator: nn.Module, latents: Tensor) -> Tensor:
        """Map latents [N, Z] to images [N, C, H, W] in [-1, 1]; if conditional, row i shows class i mod K."""

    def state(self) -> dict[str, Tensor]:
        """Return what the next step needs beside the networks' weights: moments of the optimisers and the like."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take over what `state` returned."""


@contextlib.contextmanager
def constant(network: nn.Module) -> Iterator[None]:
    """Let gradients pass through a network without computing those of its weights."""
    weights = trained(network)
    for weight in weights:
        weight.requires_grad_(False)
    try:
        yield
    finally:
        for weight in weights:
            weight.requires_grad_(True)
