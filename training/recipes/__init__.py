"""The recipes: complete training configurations by name; defaults are the published values.

mintage recipes                                   # list all
mintage train ssgan-digits --set images=100000    # one field overridden
"""

from __future__ import annotations

import difflib

from training.errors import RecipeError
from training.recipes.adversarial_nets import ADVERSARIAL_NETS_RECIPES, AdversarialNetsRecipe
from training.recipes.dcgan import DCGAN_RECIPES, DcganRecipe
from training.recipes.encoder import ENCODER, EncoderRecipe
from training.recipes.improved_gan import IMPROVED_GAN_RECIPES, ImprovedGanRecipe
from training.recipes.neuron_classifier import NEURON_CLASSIFIER, NeuronClassifierRecipe
from training.recipes.probe import PROBE, ProbeRecipe
from training.recipes.recipe import About, GanRecipe, Kind, LatentDistribution, Recipe
from training.recipes.sparse_autoencoder import SPARSE_AUTOENCODER_RECIPES, SparseAutoencoderRecipe
from training.recipes.student import STUDENT, StudentRecipe

__all__ = [
    "RECIPES",
    "About",
    "AdversarialNetsRecipe",
    "DcganRecipe",
    "EncoderRecipe",
    "GanRecipe",
    "ImprovedGanRecipe",
    "Kind",
    "LatentDistribution",
    "NeuronClassifierRecipe",
    "ProbeRecipe",
    "Recipe",
    "SparseAutoencoderRecipe",
    "StudentRecipe",
    "recipe_named",
]

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        *IMPROVED_GAN_RECIPES,
        *ADVERSARIAL_NETS_RECIPES,
        *DCGAN_RECIPES,
        PROBE,
        *SPARSE_AUTOENCODER_RECIPES,
        NEURON_CLASSIFIER,
        STUDENT,
        ENCODER,
    )
}


def recipe_named(name: str) -> Recipe:
    """Return the recipe of that name.

    Raises:
        RecipeError: if there is none.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        meant = f"did you mean {near[0]}? There" if near else "there"
        raise RecipeError(f"no recipe is called {name!r}; {meant} are {', '.join(RECIPES)}")
    return RECIPES[name]
