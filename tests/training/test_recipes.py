"""The recipes and their overrides."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from training.errors import RecipeError
from training.recipes import RECIPES, AdversarialNetsRecipe, DcganRecipe, ImprovedGanRecipe, Recipe, recipe_named


def test_the_published_recipe_is_that_of_the_paper() -> None:
    recipe = RECIPES["ssgan-mnist"]

    assert isinstance(recipe, ImprovedGanRecipe)
    assert recipe.images == 300 * 60_000
    assert (recipe.labels, recipe.labelled_batch, recipe.unlabelled_batch) == (100, 100, 100)
    assert (recipe.generator_rate, recipe.discriminator_rate, recipe.beta1, recipe.epsilon) == (0.003, 0.003, 0.5, 1e-4)
    assert (recipe.input_noise, recipe.hidden_noise) == (0.3, 0.5)


def test_every_recipe_says_source_cost_and_expected_result() -> None:
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert all((recipe.source, recipe.cost, recipe.expected))


def test_the_recipe_of_2014_is_that_of_the_authors() -> None:
    recipe = RECIPES["gan-mnist"]

    assert isinstance(recipe, AdversarialNetsRecipe)
    assert (recipe.generator_widths, recipe.discriminator_widths, recipe.pieces) == ((1200, 1200), (240, 240), 5)
    assert (recipe.rate, recipe.momentum, recipe.final_momentum, recipe.batch) == (0.1, 0.5, 0.7, 100)
    assert (recipe.keep_input, recipe.keep_hidden, recipe.latent_distribution) == (0.8, 0.5, "uniform11")


def test_the_recipe_of_the_dcgan_is_that_of_the_paper() -> None:
    recipe = RECIPES["dcgan64"]

    assert isinstance(recipe, DcganRecipe)
    assert (recipe.generator_rate, recipe.discriminator_rate, recipe.beta1, recipe.batch) == (2e-4, 2e-4, 0.5, 128)
    assert (recipe.latent_size, recipe.latent_distribution, recipe.kernel) == (100, "uniform11", 5)


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_field_that_can_be_overridden_has_a_meaning(recipe: Recipe) -> None:
    fixed = {field.name for field in dataclasses.fields(recipe)} - recipe.fields().keys()

    assert fixed - {"network"} == {"name", "source", "cost", "expected", "data", "size", "channels"}
    assert all(about.text for about in recipe.fields().values())


@pytest.mark.parametrize(
    ("field", "text", "value"),
    [
        ("images", "100_000", 100_000),
        ("beta1", "0.9", 0.9),
        ("max_seconds", "inf", math.inf),
        ("generator_widths", "64, 32", (64, 32)),
        ("generator_widths", [64, 32], (64, 32)),
        ("latent_distribution", "normal", "normal"),
    ],
)
def test_fields_are_overridden_by_text_or_by_value(field: str, text: object, value: object) -> None:
    assert getattr(RECIPES["ssgan-mnist"].overridden({field: text}), field) == value


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("imges", "5", "no field 'imges'; its fields are seed, images"),
        ("name", "mine", "no field 'name'"),
        ("images", "many", "expected a whole number"),
        ("images", "1.5", "expected a whole number"),
        ("images", True, "expected a whole number"),
        ("images", "0", r"must lie in \[1, "),
        ("unlabelled_batch", "1", r"must lie in \[2, "),
        ("beta1", "1", r"must lie in \[0, 0.999999\]"),
        ("beta1", "nan", "expected a number"),
        ("generator_widths", "", "whole numbers with commas"),
        ("generator_widths", "64,0", "must lie in"),
        ("latent_distribution", "gauss", 'one of "uniform01", "uniform11", "normal"'),
    ],
)
def test_wrong_fields_are_refused_with_what_was_expected(field: str, value: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        RECIPES["ssgan-mnist"].overridden({field: value})


def test_an_unknown_recipe_is_refused_with_the_known_ones() -> None:
    with pytest.raises(RecipeError, match="'stylegan'; there are ssgan-digits, ssgan-mnist"):
        recipe_named("stylegan")


def test_settings_survive_json() -> None:
    recipe = RECIPES["ssgan-mnist"].overridden({"seed": 7, "discriminator_widths": (30, 20)})

    assert RECIPES["ssgan-mnist"].overridden(json.loads(json.dumps(recipe.to_dict()))) == recipe
