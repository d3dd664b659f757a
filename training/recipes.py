"""The recipes: complete training configurations whose defaults are the published ones, by name.

mintage recipes                                   # what there is
mintage train ssgan-digits --set images=100000    # one field overridden
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, cast, get_args, get_type_hints

from training.errors import RecipeError

LatentDistribution = Literal["uniform01", "uniform11", "normal"]
Widths = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class About:
    """What a field of a recipe means and where it may lie, both ends included."""

    text: str
    least: float = -math.inf
    most: float = math.inf


Hidden = Annotated[Widths, About("hidden units, layer by layer", 1, 65_536)]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImprovedGanRecipe:
    """The K+1 semi-supervised GAN with feature matching; defaults are Salimans et al. 2016 on MNIST (arXiv:1606.03498).

    Every field that is annotated with `About` can be overridden; the others say what the recipe is.
    """

    name: str
    source: str
    cost: str
    expected: str
    data: str | None = None  # what `--data` is when it is left out; None where it must be given

    seed: Annotated[int, About("seed of every random choice of the run", 0, 2**63 - 1)] = 1
    labels: Annotated[int, About("labelled images, the same number a class; all others are unlabelled", 1)] = 100
    images: Annotated[int, About("length of the run, in unlabelled real images", 1)] = 18_000_000
    max_seconds: Annotated[float, About("cap on the wall-clock time of one start, s; inf for none", 0)] = math.inf

    labelled_batch: Annotated[int, About("labelled images a step", 1, 65_536)] = 100
    unlabelled_batch: Annotated[int, About("unlabelled images a step, and as many generated ones", 2, 65_536)] = 100
    initialise_images: Annotated[int, About("images that set the first scales and biases", 2, 65_536)] = 500

    latent_size: Annotated[int, About("length of the latent vector", 1, 65_536)] = 100
    latent_distribution: Annotated[LatentDistribution, About("what a latent's entries are drawn from")] = "uniform01"
    generator_widths: Hidden = (500, 500)
    discriminator_widths: Hidden = (1000, 500, 250, 250, 250)
    input_noise: Annotated[float, About("std of the noise on pixels in [0, 1]", 0, 100)] = 0.3
    hidden_noise: Annotated[float, About("std of the noise on hidden units", 0, 100)] = 0.5

    generator_rate: Annotated[float, About("Adam's learning rate for the generator", 0, 1)] = 0.003
    discriminator_rate: Annotated[float, About("Adam's learning rate for the discriminator", 0, 1)] = 0.003
    beta1: Annotated[float, About("Adam's decay of the first moment", 0, 0.999999)] = 0.5
    beta2: Annotated[float, About("Adam's decay of the second moment", 0, 0.999999)] = 0.999
    # The paper's code divides by sqrt(v + 1e-8), which torch's sqrt(v) + epsilon matches with 1e-4, not with its 1e-8.
    epsilon: Annotated[float, About("Adam's epsilon, added outside the square root", 0, 1)] = 1e-4
    decay_from: Annotated[float, About("share of the run after which the rates fall linearly to 0", 0, 1)] = 1.0
    average_share: Annotated[float, About("half-life of averaged weights, as a share of images seen", 0, 1)] = 0.04

    # A second thread gains a tenth on an idle machine with networks this small. On a busy one it costs nine tenths, for
    # threads that wait for each other spin.
    threads: Annotated[int, About("CPU threads; the last bits of a run depend on it", 1, 1024)] = 1
    report_images: Annotated[int, About("images between two lines of metrics", 1)] = 10_000
    checkpoint_images: Annotated[int, About("images between two checkpoints and sample grids", 1)] = 600_000

    def __post_init__(self) -> None:
        """Check the type and the range of every overridable field."""
        for name in settings():
            object.__setattr__(self, name, _checked(name, getattr(self, name)))

    def overridden(self, values: Mapping[str, object]) -> ImprovedGanRecipe:
        """Return a copy with some fields replaced.

        Args:
            values: by field name, either typed values or the text a person wrote, such as "500,500" for widths.

        Raises:
            RecipeError: for an unknown field, or a value of the wrong type or range.
        """
        for name in values:
            if name not in settings():
                raise RecipeError(f"recipe {self.name} has no field {name!r}; its fields are {', '.join(settings())}")
        return dataclasses.replace(self, **cast(dict[str, Any], dict(values)))

    def to_dict(self) -> dict[str, Any]:
        """Return the overridable fields as JSON values, in the order of declaration; no limit is null."""
        values = {name: getattr(self, name) for name in settings()}
        return {name: None if value == math.inf else value for name, value in values.items()}


@functools.cache
def settings() -> dict[str, About]:
    """Return what is known of the overridable fields of a recipe, in the order of declaration."""
    hints = get_type_hints(ImprovedGanRecipe, include_extras=True)
    return {name: hint.__metadata__[0] for name, hint in hints.items() if hasattr(hint, "__metadata__")}


def recipe_named(name: str) -> ImprovedGanRecipe:
    """Return the recipe of that name.

    Raises:
        RecipeError: if there is none.
    """
    if name not in RECIPES:
        raise RecipeError(f"no recipe is called {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


def _checked(name: str, value: object) -> object:
    """Return the value in the field's type, or raise RecipeError saying what was expected."""
    kind, about = _kinds()[name], settings()[name]
    try:
        typed = _converted(kind, value)
    except (TypeError, ValueError):
        raise RecipeError(f"{name}={value!r}: expected {_described(kind)} ({about.text})") from None
    numbers = typed if isinstance(typed, tuple) else (typed,)
    if any(not about.least <= number <= about.most for number in numbers if not isinstance(number, str)):
        raise RecipeError(f"{name}={value!r}: must lie in [{about.least}, {about.most}] ({about.text})")
    return typed


@functools.cache
def _kinds() -> dict[str, Any]:
    """Return the types of a recipe's fields by name."""
    return get_type_hints(ImprovedGanRecipe)


def _converted(kind: Any, value: object) -> object:
    """Convert text or a JSON value to the field's type; ValueError if it is not of that type."""
    if kind is int:
        return _whole(value)
    if kind is float:
        return _real(value)
    if kind == Widths:
        parts = [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or not parts:
            raise ValueError(value)
        return tuple(_whole(part) for part in parts)
    if value not in get_args(kind):
        raise ValueError(value)
    return value


def _whole(value: object) -> int:
    """Convert 5, "5" or "1_000" to int; a bool or a fraction is a ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(value)
    return int(value)


def _real(value: object) -> float:
    """Convert a number or its text to float; None stands for no limit, NaN is a ValueError."""
    if value is None:
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(value)
    number = float(value)
    if math.isnan(number):
        raise ValueError(value)
    return number


def _described(kind: Any) -> str:
    """Name a field's type the way a person would."""
    names = {int: "a whole number", float: "a number", Widths: "whole numbers with commas between"}
    return names.get(kind) or "one of " + json.dumps(get_args(kind))[1:-1]


RECIPES: dict[str, ImprovedGanRecipe] = {
    recipe.name: recipe
    for recipe in (
        ImprovedGanRecipe(
            name="ssgan-digits",
            source="Salimans et al. 2016, made smaller; digits that ship with the project",
            cost="85 to 110 s of one CPU core, stopped at 110 s",
            expected="about 93 % of 2,000 test digits (measured: 92.6 % and 93.0 % with seeds 1 and 2)",
            data="digits",
            labels=500,
            images=250_000,
            max_seconds=110.0,
            labelled_batch=20,
            unlabelled_batch=50,
            generator_widths=(256, 256),
            discriminator_widths=(400, 250, 250),
            report_images=1_000,
            checkpoint_images=50_000,
        ),
        ImprovedGanRecipe(
            name="ssgan-mnist",
            source="Salimans et al. 2016, section 5.1 (arXiv:1606.03498); 60,000 digits of MNIST",
            cost="about 3 h on one CPU core",
            expected="0.93 +- 0.07 % test error over 10 draws of 100 labels (published)",
        ),
    )
}
