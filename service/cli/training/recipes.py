"""`mintage recipes`: the recipes that can be trained.

mintage recipes                  # each with its source, cost and expected result
mintage recipes ssgan-digits     # every field of a recipe, with its value and meaning
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import JsonLinesOption, console, friendly_errors, table
from service.cli.json_lines import print_json_lines

if TYPE_CHECKING:
    from training.recipes import Recipe


def recipes(
    name: Annotated[str | None, typer.Argument(help="Show every field of this recipe.")] = None,
    as_json: JsonLinesOption = False,
) -> None:
    """List the recipes with their source, cost and expected result.

    Example: mintage recipes
    mintage recipes dcgan32
    """
    from training.recipes import RECIPES, recipe_named

    with friendly_errors():
        shown = list(RECIPES.values()) if name is None else [recipe_named(name)]
    if as_json:
        print_json_lines(_values(recipe) for recipe in shown)
    elif name is None:
        columns = ("recipe", "source", "cost", "expected result")
        console().print(table(columns, [(each.name, each.source, each.cost, each.expected) for each in shown]))
    else:
        _print_fields(shown[0])


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(recipes)


def _values(recipe: Recipe) -> dict[str, Any]:
    about = {name: getattr(recipe, name) for name in ("name", "source", "cost", "expected", "data")}
    return {**about, "settings": recipe.to_dict()}


def _print_fields(recipe: Recipe) -> None:
    console().print(f"{recipe.name}: {recipe.source}", markup=False)
    rows = [(name, getattr(recipe, name), about.text) for name, about in recipe.fields().items()]
    console().print(table(("field", "value", "meaning"), rows))
