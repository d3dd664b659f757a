"""The step that goes with a recipe."""

from __future__ import annotations

from typing import cast

from torch import nn

from training.compute.acceleration import Acceleration
from training.data import LabelledImages
from training.errors import DataError, RecipeError
from training.networks import adversarial_nets, dcgan, improved_gan
from training.recipes import AdversarialNetsRecipe, DcganRecipe, ImprovedGanRecipe, Recipe
from training.steps.adversarial import AdversarialNetsStep, DcganStep
from training.steps.improved_gan import ImprovedGanStep
from training.steps.step import Step

PLAIN = Acceleration()


def build_step(
    generator: nn.Module,
    discriminator: nn.Module,
    recipe: Recipe,
    data: LabelledImages,
    acceleration: Acceleration = PLAIN,
) -> Step:
    """Put a run's networks, which are where `acceleration` places them, recipe and training images together.

    Raises:
        DataError: if the recipe needs labels that the images do not have.
        RecipeError: if nothing of the recipe is trained step by step.
    """
    if isinstance(recipe, ImprovedGanRecipe):
        return ImprovedGanStep(
            cast(improved_gan.Generator, generator),
            cast(improved_gan.Discriminator, discriminator),
            recipe,
            data,
            acceleration,
        )
    if isinstance(recipe, AdversarialNetsRecipe):
        return AdversarialNetsStep(
            cast(adversarial_nets.Generator, generator),
            cast(adversarial_nets.Discriminator, discriminator),
            recipe,
            data,
            acceleration,
        )
    if isinstance(recipe, DcganRecipe):
        if recipe.conditional == "yes" and not data.classes:
            raise DataError("conditional=yes needs images with labels, and these have none")
        return DcganStep(
            cast(dcgan.Generator, generator), cast(dcgan.Discriminator, discriminator), recipe, data, acceleration
        )
    raise RecipeError(f"{recipe.name} is not trained step by step")
