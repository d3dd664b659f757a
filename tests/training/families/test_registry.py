"""A recipe is all that is needed to find what builds its networks."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import numpy as np
import pytest
import torch

import training.families
from tests.training.fakes import blobs
from training.config import RunConfig
from training.data import LabelledImages
from training.errors import RecipeError
from training.families import family_of
from training.networks.features import FeatureClassifier
from training.recipes import RECIPES, Kind, Recipe

KINDS: set[Kind] = {"generator", "classifier", "neurons"}
MADE = [recipe for recipe in RECIPES.values() if not (recipe.generates or recipe.detects)]


def config_of(recipe: Recipe) -> RunConfig:
    height, width = recipe.size or (32, 32)
    shape = (1, height, width, recipe.channels or 3)
    return RunConfig.of(recipe, LabelledImages(np.zeros(shape, np.uint8), np.zeros(1, np.int64), ("a", "b")))


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_recipe_builds_the_networks_that_it_says_can_be_served_and_no_others(recipe: Recipe) -> None:
    family = family_of(config_of(recipe))

    with torch.device("meta"):
        for kind in recipe.kinds:
            assert list(family.served(kind).parameters())
        for other in KINDS - {*recipe.kinds}:
            if (recipe.name, other) != ("neuron-classifier", "neurons"):  # it stands on an autoencoder of another run
                with pytest.raises(RecipeError, match=rf"{recipe.name} trains no "):
                    family.served(other)


@pytest.mark.parametrize("recipe", [recipe for recipe in RECIPES.values() if recipe.classifies], ids=lambda r: r.name)
def test_every_classifier_shows_its_features(recipe: Recipe) -> None:
    with torch.device("meta"):
        classifier = family_of(config_of(recipe)).classifier()

    assert isinstance(classifier, FeatureClassifier)
    assert classifier.feature_count > 0


@pytest.mark.parametrize("recipe", MADE, ids=lambda recipe: recipe.name)
def test_what_another_verb_makes_is_not_trained_step_by_step(recipe: Recipe) -> None:
    family = family_of(config_of(recipe))

    with pytest.raises(RecipeError, match=rf"{recipe.name} is not trained step by step: .*made by `mintage "):
        family.begin(blobs())
    with pytest.raises(RecipeError, match="is not trained step by step"):
        family.needs()


def test_every_family_is_that_of_some_recipe() -> None:
    """The shared modules have no `FAMILY`; every other one is named by a recipe."""
    folder = Path(training.families.__file__).parent
    modules = {module.name for module in pkgutil.iter_modules([str(folder)])}
    shared = {name for name in modules if "\nFAMILY = " not in (folder / f"{name}.py").read_text(encoding="utf-8")}

    assert modules - shared == {recipe.FAMILY for recipe in RECIPES.values()}
