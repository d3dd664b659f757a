"""What the families of GANs share: a generator and a discriminator, trained by a step, with averaged weights."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar, Generic, TypeVar

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
from training.families.family import Family
from training.families.needs import FLOAT_BYTES, Needs, Part, weight_count
from training.randomness import fresh_weights, stream
from training.recipes import GanRecipe
from training.runs.checkpoint import section
from training.steps.step import Losses, Step, must_be_finite

R = TypeVar("R", bound=GanRecipe)
G = TypeVar("G", bound=nn.Module)
D = TypeVar("D", bound=nn.Module)


class GanFamily(Family[R], ABC, Generic[R, G, D]):
    """A generator G against a discriminator D, which is the classifier too where there were labels."""

    MOMENTS: ClassVar[int] = 2  # numbers that the optimiser keeps per weight: Adam's mean and mean square

    @abstractmethod
    def generator(self) -> G:
        """Build the generator; see `Family`."""

    @abstractmethod
    def discriminator(self) -> D:
        """Build the discriminator; see `Family`."""

    @abstractmethod
    def step(self, generator: G, discriminator: D, data: LabelledImages, acceleration: Acceleration) -> Step:
        """Build the step of networks that already lie where `acceleration` places them.

        Raises:
            DataError: if the recipe needs labels that the images do not have.
        """

    def classifier(self) -> D:
        """Build the classifier; see `Family`."""
        if not self.recipe.classifies:
            raise RecipeError(f"{self.recipe.name} trains no classifier; pack it as a generator, or make a probe of it")
        return self.discriminator()

    def begin(self, data: LabelledImages) -> GanTraining:
        """Begin the training; see `Family`."""
        recipe = self.recipe
        parallel.must_be_shared(recipe.batch_sizes)
        with fresh_weights(recipe.seed):
            generator, discriminator = self.generator(), self.discriminator()
        acceleration = Acceleration.chosen(recipe, convolutional=is_convolutional(generator))
        for network in (generator, discriminator):
            acceleration.placed(network)
        return GanTraining(self.config, recipe, self.step(generator, discriminator, data, acceleration), acceleration)

    def needs(self) -> Needs:
        """Count what the training needs; see `Family`."""
        with torch.device("meta"):  # shapes alone
            generator, discriminator = self.generator(), self.discriminator()
        parts = (
            Part("generator", math.prod(self.config.image_shape), weight_count(generator)),
            Part("discriminator", max(len(self.config.classes), 1), weight_count(discriminator)),
        )
        weights = sum(part.weights for part in parts)
        return Needs(
            parts=parts,
            weights=weights,
            weight_bytes=FLOAT_BYTES * weights,
            gradient_bytes=FLOAT_BYTES * weights,
            moment_bytes=self.MOMENTS * FLOAT_BYTES * weights,
            average_bytes=FLOAT_BYTES * weights,
            activation_bytes=None,
            flop_per_image=None,
        )


class GanTraining:
    """The state of one training; see `training.families.training.Training`.

    Args:
        config: the run's configuration.
        recipe: its recipe.
        step: of fresh networks that already lie where `acceleration` places them.
        acceleration: how the networks are computed.
    """

    def __init__(self, config: RunConfig, recipe: GanRecipe, step: Step, acceleration: Acceleration) -> None:
        self.config = config
        self.images_seen = 0
        self.losses: Losses | None = None
        self._recipe = recipe
        self._step = step
        self._acceleration = acceleration
        step.initialise()
        for network in (step.generator, step.discriminator):
            parallel.spread(network)
        self._generator_average = Average(step.generator, share=recipe.average_share)
        self._discriminator_average = Average(step.discriminator, share=recipe.average_share)

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

    def calibrate(self) -> None:
        """Calibrate the batch statistics of the averaged networks."""
        self._step.calibrate(self._generator_average.network, self._discriminator_average.network)

    def collect(self) -> None:
        """Do nothing: every process holds the whole state."""

    def samples(self, count: int) -> NDArray[np.uint8]:
        """Return images uint8 [count, H, W, C] of the calibrated averaged generator, always from the same latents."""
        with torch.no_grad():
            generator = self._generator_average.network
            return to_pixels(self._step.generate(generator, self._fixed_latents(count, purpose="samples")))

    def accuracy(self, data: LabelledImages) -> float | None:
        """Return the averaged classifier's accuracy in [0, 1], or None without a classifier or labels."""
        if not self._recipe.classifies or not data.classes:
            return None
        found = predicted(lambda images: self._classify(images).cpu(), data.images)
        return float((found == data.labels).mean())

    def weights(self) -> dict[str, Tensor]:
        """Return all weights, current and averaged, by their names in the checkpoint."""
        return {
            f"{prefix}.{name}": stored(tensor)
            for prefix, network in self._networks().items()
            for name, tensor in network.state_dict().items()
        }

    def state(self) -> dict[str, Tensor]:
        """Return all that `restore` needs: weights and the step's state."""
        return {**self.weights(), **{f"step.{name}": stored(tensor) for name, tensor in self._step.state().items()}}

    def restore(self, tensors: Mapping[str, Tensor], images_seen: int) -> None:
        """Continue from what `state` returned after `images_seen` images.

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


def stored(tensor: Tensor) -> Tensor:
    """Return a tensor contiguous on the CPU, as it is written; without a copy where it is that already."""
    return tensor.cpu().contiguous()
