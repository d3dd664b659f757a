"""A K+1 GAN in the middle of its training: networks, averages, Adam and counters, all in memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.batches import Batches, predicted, to_pixels
from training.checkpoint import RunConfig, section
from training.data import LabelledImages
from training.errors import DivergedError, RunError
from training.gan_step import Average, ImprovedGanStep, Losses
from training.latents import draw_latents
from training.networks import build_classifier, build_generator
from training.randomness import stream

SETTLING_LATENTS = 2000  # for the batch statistics of the averaged generator


class GanTraining:
    """The state of one training; the same (config, data, images seen) is always the same state, bit for bit.

    Args:
        config: the run's configuration.
        data: the training images.
    """

    def __init__(self, config: RunConfig, data: LabelledImages) -> None:
        self.config = config
        self.images_seen = 0
        self.losses: Losses | None = None
        self._recipe = recipe = config.settings
        self._batches = Batches(data, recipe)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(recipe.seed, "weights").initial_seed())
            generator, discriminator = build_generator(config), build_classifier(config)
        discriminator.initialise_from(self._batches.to_initialise(), stream(recipe.seed, "initialise"))
        self._step = ImprovedGanStep(generator, discriminator, recipe)
        self._generator_average = Average(generator, share=recipe.average_share)
        self._discriminator_average = Average(discriminator, share=recipe.average_share)

    def advance(self) -> Losses:
        """Take one step.

        Raises:
            DivergedError: if a loss is not finite.
        """
        recipe = self._recipe
        noise = stream(recipe.seed, "step", images_seen=self.images_seen)
        batch = self._batches.at(self.images_seen, noise)
        losses = self._step(batch, noise, rate_share=self._rate_share())
        if not losses.are_finite():
            raise DivergedError(f"after {self.images_seen} images a loss is no longer finite ({losses})")
        self.images_seen += recipe.unlabelled_batch
        for average in (self._generator_average, self._discriminator_average):
            average.update(batch_images=recipe.unlabelled_batch, images_seen=self.images_seen)
        self.losses = losses
        return losses

    def settle(self) -> None:
        """Give the averaged generator the batch statistics of its present weights."""
        self._generator_average.network.settle_statistics(self._fixed_latents(SETTLING_LATENTS, purpose="settle"))

    def samples(self, count: int) -> NDArray[np.uint8]:
        """Return images uint8 [count, H, W, C] of the settled averaged generator, always from the same latents."""
        with torch.no_grad():
            return to_pixels(self._generator_average.network(self._fixed_latents(count, purpose="samples")))

    def accuracy(self, data: LabelledImages) -> float:
        """Return the share of images that the averaged classifier assigns to their class, in [0, 1]."""
        return float((predicted(self._discriminator_average.network, data.images) == data.labels).mean())

    def weights(self) -> dict[str, Tensor]:
        """Return every weight, present and averaged, under the prefixes of the checkpoint."""
        return {
            f"{prefix}.{name}": tensor
            for prefix, network in self._networks().items()
            for name, tensor in network.state_dict().items()
        }

    def state(self) -> dict[str, Tensor]:
        """Return what `restore` needs: the weights and Adam's moments."""
        return {**self.weights(), **{f"adam.{name}": tensor for name, tensor in self._step.moments().items()}}

    def restore(self, tensors: Mapping[str, Tensor], images_seen: int) -> None:
        """Go on from what `state` returned after so many images.

        Raises:
            RunError: if the tensors are those of other networks.
        """
        try:
            for prefix, network in self._networks().items():
                network.load_state_dict(section(tensors, prefix))
            if images_seen:
                self._step.restore(section(tensors, "adam"))
        except (RuntimeError, KeyError, ValueError) as error:
            raise RunError(f"the saved state does not fit the recipe's networks: {error}") from None
        self.images_seen = images_seen

    def _networks(self) -> dict[str, nn.Module]:
        return {
            "generator": self._step.generator,
            "discriminator": self._step.discriminator,
            "generator_average": self._generator_average.network,
            "discriminator_average": self._discriminator_average.network,
        }

    def _fixed_latents(self, count: int, *, purpose: str) -> Tensor:
        recipe = self._recipe
        generator = stream(recipe.seed, purpose)
        return draw_latents(count, recipe.latent_size, distribution=recipe.latent_distribution, generator=generator)

    def _rate_share(self) -> float:
        """Return what the learning rates are multiplied with: 1, then linearly down to 0 at the end of the run."""
        remaining = 1 - self.images_seen / self._recipe.images
        decaying = 1 - self._recipe.decay_from
        return remaining / decaying if remaining < decaying else 1.0
