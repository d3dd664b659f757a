"""The recipes and their overrides."""

from __future__ import annotations

import dataclasses
import json
import math

import pytest

from training.errors import RecipeError
from training.recipes import RECIPES, recipe_named, settings


def test_the_published_recipe_is_that_of_the_paper() -> None:
    recipe = RECIPES["ssgan-mnist"]

    assert recipe.images == 300 * 60_000
    assert (recipe.labels, recipe.labelled_batch, recipe.unlabelled_batch) == (100, 100, 100)
    assert (recipe.generator_rate, recipe.discriminator_rate, recipe.beta1, recipe.epsilon) == (0.003, 0.003, 0.5, 1e-4)
    assert (recipe.input_noise, recipe.hidden_noise) == (0.3, 0.5)


def test_every_recipe_says_source_cost_and_expected_result() -> None:
    for name, recipe in RECIPES.items():
        assert recipe.name == name
        assert all((recipe.source, recipe.cost, recipe.expected))


def test_every_other_field_has_a_meaning() -> None:
    described = {field.name for field in dataclasses.fields(RECIPES["ssgan-mnist"])} - settings().keys()

    assert described == {"name", "source", "cost", "expected", "data"}
    assert all(about.text for about in settings().values())


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
        ("imges", "5", "no field 'imges'; its fields are seed, labels"),
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
