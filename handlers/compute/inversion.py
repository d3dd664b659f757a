"""From an image back to a latent: Adam on latents, so that what the generator draws of them comes near the image.

The distance is that of the pixels and, with a discriminator, that of its hidden units: a perceptual loss (Johnson et
al. 2016) with the features of the generator's own opponent. After each step latents return to where the distribution
has its mass: the cube of a uniform one, the shell of a normal one. Networks are plain: float32, in eval mode, as
trained.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from handlers.compute.inside.activations import watched
from handlers.compute.latents import DEVIATIONS, Distribution, latents

Float32s = NDArray[np.float32]

CANDIDATES = 10  # samples of which the best one is a start: drawn and judged in the time of a forward pass of 64
RATE = 0.2  # of Adam at the first step, in standard deviations of the latents; it falls to 0 by half a cosine
BETA1, BETA2, EPSILON = 0.9, 0.9, 1e-8  # 0.99 for squares needs several times the steps
PERCEPTION = 0.1  # weight of the hidden units' distance beside that of the pixels
SHELL = 3.0  # standard deviations of a normal latent's length from its mean within which it stays


@dataclass(frozen=True, slots=True)
class Opponents:
    """A generator and, if hidden units are compared, its discriminator, as they were trained.

    Attributes:
        generator: latents [N, Z], and labels [N] of a conditional one -> images [N, C, H, W] in [-1, 1].
        discriminator: takes images, and labels. None compares pixels alone.
        distribution: of the latents.
        size: Z.
        classes: K if both are conditioned on the class, else 0.
        encoder: images, and labels -> latents [N, Z] to start from; None starts from samples alone.
    """

    generator: nn.Module
    discriminator: nn.Module | None
    distribution: Distribution
    size: int
    classes: int = 0
    encoder: nn.Module | None = None


@dataclass(frozen=True, slots=True)
class Search:
    """Where the starts of a search are: latents and Adam's two moments, float32 [S, Z] each, after some steps."""

    latents: Float32s
    means: Float32s
    squares: Float32s
    step: int = 0


@dataclass(frozen=True, slots=True)
class Best:
    """The best latents that some steps have met, float32 [S, Z], and their losses, float32 [S]."""

    latents: Float32s
    losses: Float32s


class Inversion:
    """The search for the latents of one image.

    Args:
        opponents: The networks.
        image: float32 [1, C, H, W] in [-1, 1], on their device.
        label: Class of conditional networks.
    """

    def __init__(self, opponents: Opponents, image: Tensor, *, label: int = 0) -> None:
        self._opponents = opponents
        self._image = image
        self._label = label
        with torch.no_grad():
            self._units = self._perceive(image)

    def start(self, seed: int, first: int, count: int) -> Search:
        """Return starts `first` to `first + count - 1` of a seed: each is the nearest of CANDIDATES samples.

        With an encoder its guess is a candidate of start 0, in place of the last sample.
        """
        opponents = self._opponents
        found = []
        for start in range(first, first + count):
            drawn = latents(seed, start * CANDIDATES, CANDIDATES, opponents.size, opponents.distribution)
            if start == 0 and opponents.encoder is not None:
                drawn[-1] = self._guessed(opponents.encoder)
            with torch.no_grad():
                losses = self._losses(torch.from_numpy(drawn).to(self._image.device))
            found.append(drawn[int(losses.argmin())])
        begun = np.stack(found)
        return Search(begun, np.zeros_like(begun), np.zeros_like(begun))

    def advance(self, search: Search, count: int, steps: int) -> tuple[Search, Best]:
        """Take some of all the steps of a search.

        Args:
            search: Where it is.
            count: Steps to take.
            steps: Steps in all, which the rate falls over.

        Returns: Where it is then, and the best latents before each of these steps.
        """
        device = self._image.device
        place, means, squares = (
            torch.tensor(part, device=device) for part in (search.latents, search.means, search.squares)
        )
        best, least = place.clone(), torch.full((len(place),), math.inf, device=device)
        for step in range(search.step, search.step + count):
            with torch.enable_grad():
                variable = place.detach().requires_grad_(True)
                losses = self._losses(variable)
                (gradient,) = torch.autograd.grad(losses.sum(), variable)
            losses = losses.detach()
            better = losses < least
            best[better], least[better] = place[better], losses[better]
            means.lerp_(gradient, 1 - BETA1)
            squares.lerp_(gradient.square(), 1 - BETA2)
            rate = RATE * DEVIATIONS[self._opponents.distribution] * (1 + math.cos(math.pi * step / steps)) / 2
            mean, square = means / (1 - BETA1 ** (step + 1)), squares / (1 - BETA2 ** (step + 1))
            place = within(place - rate * mean / (square.sqrt() + EPSILON), self._opponents.distribution)
        moved = Search(place.cpu().numpy(), means.cpu().numpy(), squares.cpu().numpy(), search.step + count)
        return moved, Best(best.cpu().numpy(), least.cpu().numpy())

    @torch.no_grad()
    def _guessed(self, encoder: nn.Module) -> Float32s:
        """Return the latent [Z] that an encoder guesses, brought back to where the distribution has its mass."""
        guessed: Tensor = encoder(self._image, *self._labels(1))
        numbers: Float32s = within(guessed, self._opponents.distribution)[0].cpu().numpy()
        return numbers

    def _labels(self, count: int) -> list[Tensor]:
        """Return what conditional networks take after their first argument: the label of each row [N]."""
        return [torch.full((count,), self._label, device=self._image.device)] if self._opponents.classes else []

    def _losses(self, place: Tensor) -> Tensor:
        """Return the loss [N] of latents [N, Z]: mean squared pixels, and with a discriminator the hidden units."""
        opponents = self._opponents
        images: Tensor = opponents.generator(place, *self._labels(len(place)))
        losses = (images - self._image).square().flatten(1).mean(dim=1)
        if opponents.discriminator is None:
            return losses
        pairs = list(zip(self._perceive(images), self._units, strict=True))
        shares = [
            (units - wanted).square().flatten(1).mean(dim=1) / wanted.square().mean().clamp_min(EPSILON)
            for units, wanted in pairs
        ]
        return losses + PERCEPTION * torch.stack(shares).mean(dim=0)

    def _perceive(self, images: Tensor) -> list[Tensor]:
        """Return the discriminator's hidden activations for images [N, C, H, W], by layer; none without one."""
        network = self._opponents.discriminator
        if network is None:
            return []
        seen: list[Tensor] = []

        def note(_: int, units: Tensor) -> Tensor:
            seen.append(units)
            return units

        with watched(note):
            network(images, *self._labels(len(images)))
        return seen


def within(place: Tensor, distribution: Distribution) -> Tensor:
    """Return latents [N, Z] brought back to where a distribution has its mass.

    A normal latent of Z numbers has a length of about sqrt(Z), with a standard deviation of sqrt(1/2).
    """
    if distribution != "normal":
        return place.clamp(-1.0 if distribution == "uniform11" else 0.0, 1.0)
    length: Tensor = torch.linalg.vector_norm(place, dim=1, keepdim=True).clamp_min(EPSILON)
    centre, width = math.sqrt(place.shape[1]), SHELL * math.sqrt(0.5)
    return place * (length.clamp(max(centre - width, 0.0), centre + width) / length)
