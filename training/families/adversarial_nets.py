"""The family of the adversarial nets of Goodfellow et al. 2014 (arXiv:1406.2661)."""

from __future__ import annotations

import math
from typing import ClassVar

from training.compute.acceleration import Acceleration
from training.data import LabelledImages
from training.families.gan import GanFamily
from training.networks.adversarial_nets import Discriminator, Generator
from training.recipes import AdversarialNetsRecipe
from training.steps.adversarial import AdversarialNetsStep

UNIT_VARIANCE = math.sqrt(3)  # makes the variance of U(-1, 1) one


class AdversarialNetsFamily(GanFamily[AdversarialNetsRecipe, Generator, Discriminator]):
    """A fully connected generator against a maxout discriminator."""

    MOMENTS: ClassVar[int] = 1  # stochastic gradient descent with momentum

    def generator(self) -> Generator:
        """Build the generator; see `Family`."""
        config, recipe = self.config, self.recipe
        return Generator(
            latent_size=config.latent_size,
            widths=recipe.generator_widths,
            image_shape=config.image_shape,
            weight_range=recipe.generator_range,
            latent_scale=UNIT_VARIANCE if config.latent_distribution == "uniform11" else 1.0,
        )

    def discriminator(self) -> Discriminator:
        """Build the discriminator; see `Family`."""
        recipe = self.recipe
        return Discriminator(
            image_shape=self.config.image_shape,
            units=recipe.discriminator_widths,
            pieces=recipe.pieces,
            weight_range=recipe.discriminator_range,
            keep_input=recipe.keep_input,
            keep_hidden=recipe.keep_hidden,
        )

    def step(
        self, generator: Generator, discriminator: Discriminator, data: LabelledImages, acceleration: Acceleration
    ) -> AdversarialNetsStep:
        """Build the step; see `GanFamily`."""
        return AdversarialNetsStep(generator, discriminator, self.recipe, data, acceleration)


FAMILY = AdversarialNetsFamily
