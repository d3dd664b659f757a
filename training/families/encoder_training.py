"""An encoder in training: the generator draws its images, each once, and it guesses their latents."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.batches import to_pixels, to_tensor
from training.compute import parallel
from training.compute.acceleration import Acceleration
from training.config import RunConfig
from training.data import LabelledImages
from training.families.one_network import OneNetworkTraining
from training.latents import draw_latents
from training.losses import latent_loss
from training.networks.encoder import Encoder
from training.randomness import stream
from training.recipes import EncoderRecipe
from training.runs.checkpoint import ENCODER_SECTION

CALIBRATION_IMAGES = 1024  # of the averaged network's batch statistics


@dataclass(frozen=True, slots=True, kw_only=True)
class GeneratedImages(LabelledImages):
    """Some images of a generator, which the training does not draw, with their latents, and the generator.

    Attributes:
        latents: float32 [N, Z].
        generator: in eval mode; latents [N, Z], and labels [N] of a conditional one -> images [N, C, H, W] in [-1, 1].
    """

    latents: NDArray[np.float32]
    generator: nn.Module


class EncoderTraining(OneNetworkTraining[Encoder]):
    """The state of one training; see `training.families.training.Training`.

    Args:
        config: the run's configuration.
        recipe: its recipe.
        network: with fresh weights.
        data: the generator, and images that it is not trained on.
        acceleration: how the networks are computed.
    """

    def __init__(
        self,
        config: RunConfig,
        recipe: EncoderRecipe,
        network: Encoder,
        data: GeneratedImages,
        acceleration: Acceleration,
    ) -> None:
        super().__init__(config, recipe, network, ("encoder", ENCODER_SECTION), acceleration)
        self._recipe = recipe
        self._data = data
        self._generator = acceleration.placed(data.generator)
        self._generate = acceleration.accelerated(self._generator)

    def loss(self, noise: torch.Generator) -> Tensor:
        """Return how far the guesses are from the latents."""
        latents, images, labels = self._drawn(self._recipe.batch, noise)
        return latent_loss(self._forward(images, *labels), latents, distribution=self._recipe.latent_distribution)

    def calibrate(self) -> None:
        """Calibrate the batch statistics of the averaged network."""
        _, images, labels = self._drawn(CALIBRATION_IMAGES, stream(self._recipe.seed, "calibrate"))
        self._average.network.calibrate_statistics(images, *labels)

    def samples(self, count: int) -> NDArray[np.uint8]:
        """Return images uint8 [N, H, W, C], N <= count, each followed by what is drawn of the latent guessed for it."""
        images = self._data.images[: count // 2]
        labels = self._labels(torch.from_numpy(self._data.labels[: count // 2]))
        with torch.no_grad():
            guessed = self._average.network(self._acceleration.place(to_tensor(images)), *labels)
            drawn = to_pixels(self._generator(guessed, *labels))
        pairs: NDArray[np.uint8] = np.stack([images, drawn], axis=1).reshape(-1, *images.shape[1:])
        return pairs

    def accuracy(self, data: LabelledImages) -> float | None:
        """Return None: it tells no classes apart."""
        return None

    @torch.no_grad()
    def _drawn(self, count: int, noise: torch.Generator) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Draw this process's share of latents [N, Z], their images as they are served, and labels if there are any."""
        recipe, place = self._recipe, self._acceleration.place
        drawn = draw_latents(count, recipe.latent_size, distribution=recipe.latent_distribution, generator=noise)
        latents = place(parallel.own(drawn))
        chosen = torch.randint(max(self.config.condition_classes, 1), (count,), generator=noise)
        labels = self._labels(parallel.own(chosen))
        images = self._generate(latents, *labels)
        return latents, place((images * 127.5 + 127.5).round() / 127.5 - 1), labels

    def _labels(self, labels: Tensor) -> list[Tensor]:
        return [self._acceleration.place(labels)] if self.config.condition_classes else []
