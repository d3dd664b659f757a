"""The family of the DCGAN of Radford et al. 2015 (arXiv:1511.06434)."""

from __future__ import annotations

from typing import cast

from training.compute.acceleration import Acceleration
from training.config import RunConfig
from training.data import LabelledImages
from training.errors import DataError
from training.families.gan import GanFamily
from training.networks.dcgan import Discriminator, Generator, Kernel
from training.recipes import DcganRecipe, ProbeRecipe
from training.steps.adversarial import DcganStep


class DcganFamily(GanFamily[DcganRecipe, Generator, Discriminator]):
    """A convolutional generator against a convolutional discriminator, both conditioned on the class if requested."""

    def generator(self) -> Generator:
        """Build the generator; see `Family`."""
        config, recipe = self.config, self.recipe
        return Generator(
            latent_size=config.latent_size,
            width=recipe.generator_width,
            image_shape=config.image_shape,
            classes=config.condition_classes,
            kernel=cast(Kernel, recipe.kernel),
            activation=recipe.generator_activation,
        )

    def discriminator(self) -> Discriminator:
        """Build the discriminator; see `Family`."""
        return build_discriminator(self.config, self.recipe)

    def step(
        self, generator: Generator, discriminator: Discriminator, data: LabelledImages, acceleration: Acceleration
    ) -> DcganStep:
        """Build the step; see `GanFamily`."""
        if self.recipe.is_conditional and not data.classes:
            raise DataError("conditional=yes needs images with labels, and these have none")
        return DcganStep(generator, discriminator, self.recipe, data, acceleration)


def build_discriminator(config: RunConfig, recipe: DcganRecipe | ProbeRecipe) -> Discriminator:
    """Build the discriminator that a DCGAN trains and a probe reads, with fresh weights.

    Raises:
        DataError: if it cannot take images of the run's shape.
    """
    return Discriminator(
        image_shape=config.image_shape,
        width=recipe.discriminator_width,
        classes=config.condition_classes,
        kernel=cast(Kernel, recipe.kernel),
        layout=recipe.layers,
        activation=recipe.discriminator_activation,
    )


FAMILY = DcganFamily
