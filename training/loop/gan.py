"""A GAN in the middle of its training: networks, averages, optimisers and counters, all in memory."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.average import Average
from training.batches import latents_for, predicted, to_pixels
from training.compute import parallel
from training.compute.acceleration import Acceleration, is_convolutional
from training.config import RunConfig
from training.data import LabelledImages
from training.errors import RecipeError, RunError
from training.networks import build_discriminator, build_generator
from training.randomness import stream
from training.recipes import GanRecipe, Recipe
from training.runs.checkpoint import section
from training.steps.build import build_step
from training.steps.step import Losses, must_be_finite


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
        self._recipe = recipe = _of_a_gan(config.settings)
        parallel.must_be_shared(_batch_sizes(recipe))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream(recipe.seed, "weights").initial_seed())
            generator, discriminator = build_generator(config), build_discriminator(config)
        self._acceleration = acceleration = Acceleration.chosen(recipe, convolutional=is_convolutional(generator))
        for network in (generator, discriminator):
            acceleration.placed(network)
        self._step = build_step(generator, discriminator, recipe, data, acceleration)
        self._step.initialise()
        for network in (generator, discriminator):
            parallel.spread(network)
        self._generator_average = Average(generator, share=recipe.average_share)
        self._discriminator_average = Average(discriminator, share=recipe.average_share)

    def advance(self) -> Losses:
        """Take one step.

        Raises:
            DivergedError: if a loss is not finite.
        """
        recipe = self._recipe
        noise = stream(recipe.seed, "step", images_seen=self.images_seen, device=self._acceleration.device)
        with parallel.shared_batches():
            losses = self._step(self.images_seen, noise, rate_share=recipe.rate_share(self.images_seen))
        losses = parallel.averaged(losses)
        must_be_finite(losses, self.images_seen)
        self.images_seen += recipe.batch_images
        for average in (self._generator_average, self._discriminator_average):
            average.update(batch_images=recipe.batch_images, images_seen=self.images_seen)
        self.losses = losses
        return losses

    def settle(self) -> None:
        """Give the averaged networks the batch statistics that go with their present weights."""
        self._step.settle(self._generator_average.network, self._discriminator_average.network)

    def collect(self) -> None:
        """Do nothing: every process has all of it."""

    def samples(self, count: int) -> NDArray[np.uint8]:
        """Return images uint8 [count, H, W, C] of the settled averaged generator, always from the same latents."""
        with torch.no_grad():
            generator = self._generator_average.network
            return to_pixels(self._step.generate(generator, self._fixed_latents(count, purpose="samples")))

    def accuracy(self, data: LabelledImages) -> float | None:
        """Return the averaged classifier's share of right answers, in [0, 1], or None without classifier or labels."""
        if not self._recipe.classifies or not data.classes:
            return None
        found = predicted(lambda images: self._classify(images).cpu(), data.images)
        return float((found == data.labels).mean())

    def weights(self) -> dict[str, Tensor]:
        """Return every weight, present and averaged, under the prefixes of the checkpoint."""
        return {
            f"{prefix}.{name}": stored(tensor)
            for prefix, network in self._networks().items()
            for name, tensor in network.state_dict().items()
        }

    def state(self) -> dict[str, Tensor]:
        """Return what `restore` needs: the weights, the optimisers' moments and the like."""
        return {**self.weights(), **{f"step.{name}": stored(tensor) for name, tensor in self._step.state().items()}}

    def restore(self, tensors: Mapping[str, Tensor], images_seen: int) -> None:
        """Go on from what `state` returned after so many images.

        Raises:
            RunError: if the tensors are those of other networks.
        """
        try:
            for prefix, network in self._networks().items():
                network.load_state_dict(section(tensors, prefix))
            if images_seen:
                self._step.restore(section(tensors, "step"))
        except (RuntimeError, LookupError, ValueError) as error:
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
        return self._acceleration.place(latents_for(self._recipe, count, stream(self._recipe.seed, purpose)))

    def _classify(self, images: Tensor) -> Tensor:
        logits: Tensor = self._discriminator_average.network(self._acceleration.place(images))
        return logits


def _of_a_gan(recipe: Recipe) -> GanRecipe:
    if not isinstance(recipe, GanRecipe):
        raise RecipeError(f"{recipe.name} is not trained step by step; `mintage probe RUN` makes it of a trained run")
    return recipe


def _batch_sizes(recipe: Recipe) -> dict[str, int]:
    """Return the sizes of a step's batches, by the recipe's field."""
    fields = ["batch", "unlabelled_batch", *(["labelled_batch"] if recipe.classifies else [])]
    return {field: getattr(recipe, field) for field in fields if field in recipe.fields()}


def stored(tensor: Tensor) -> Tensor:
    """Return a tensor as it is written: on the CPU, contiguous; itself where it is so already."""
    return tensor.cpu().contiguous()
