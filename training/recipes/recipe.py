"""What every recipe is: a frozen dataclass whose fields a person may override, checked by type and range."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, cast, get_args, get_type_hints

from training.errors import RecipeError

LatentDistribution = Literal["uniform01", "uniform11", "normal"]
Kind = Literal["generator", "classifier", "neurons"]  # of a network that can be packed and served
Widths = tuple[int, ...]
Weights = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class About:
    """What a field of a recipe means and where it may lie, both ends included."""

    text: str
    minimum: float = -math.inf
    maximum: float = math.inf


Hidden = Annotated[Widths, About("hidden units, layer by layer", 1, 65_536)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What the recipes of all families share.

    Every field that is annotated with `About` can be overridden; the others say what the recipe is.
    """

    FAMILY: ClassVar[str]  # the module of training/families that builds the networks and begins the training
    DESCRIPTION: ClassVar[str]  # what is trained, a sentence for the card
    LIMITS: ClassVar[tuple[str, ...]]  # what the model is not for, sentences for the card

    name: str
    source: str
    cost: str
    expected: str
    data: str | None = None  # what `--data` is when it is left out; None where it must be given
    size: tuple[int, int] | None = None  # (H, W) that images are brought to; None leaves them as they are
    channels: int | None = None  # 1 or 3 that images are brought to; None leaves them as they are

    seed: Annotated[int, About("seed of every random choice of the run", 0, 2**63 - 1)] = 1
    images: Annotated[int, About("length of the run, in real images", 1)]
    max_seconds: Annotated[float, About("cap on the wall-clock time of one start, s; inf for none", 0)] = math.inf

    decay_from: Annotated[float, About("share of the run after which the rates fall linearly to 0", 0, 1)] = 1.0

    # A second thread gains a tenth on an idle machine with small networks. On a busy one it costs nine tenths, for
    # threads that wait for each other spin.
    threads: Annotated[int, About("CPU threads; the last bits of a run depend on it", 1, 1024)] = 1
    # What `auto` means: training/compute/acceleration.py.
    device: Annotated[Literal["auto", "cpu", "cuda"], About("what computes; auto is the GPU where there is one")] = (
        "auto"
    )
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        About("of the networks; auto is bfloat16 for convolutions where the device has units for it"),
    ] = "auto"
    memory_format: Annotated[
        Literal["auto", "contiguous", "channels-last"], About("of maps; auto is channels-last with bfloat16")
    ] = "auto"
    compile: Annotated[
        Literal["no", "yes"], About("whether torch.compile makes the networks; needs a C++ compiler")
    ] = "no"
    report_images: Annotated[int, About("images between two lines of metrics", 1)] = 10_000
    checkpoint_images: Annotated[int, About("images between two checkpoints and sample grids", 1)] = 600_000

    def __post_init__(self) -> None:
        """Check the type and the range of every overridable field."""
        for name in self.fields():
            object.__setattr__(self, name, self._checked(name, getattr(self, name)))

    @property
    def batch_images(self) -> int:
        """How many real images a step advances the run by."""
        raise NotImplementedError

    @property
    def batch_sizes(self) -> dict[str, int]:
        """The sizes of a step's batches, by field; several processes share each of them."""
        return {"batch": self.batch_images}

    @property
    def min_images(self) -> int:
        """How many training images a step, and the choice of labelled ones, take at least."""
        return self.batch_images

    @property
    def latent(self) -> tuple[int, LatentDistribution]:
        """Length of a generator's latents, 0 where there is no generator, and what their entries are drawn from."""
        return 0, "uniform11"

    def rate_share(self, images_seen: int) -> float:
        """Return what the learning rates are multiplied with: 1, then linearly down to 0 at the end of the run."""
        remaining, decaying = 1 - images_seen / self.images, 1 - self.decay_from
        return remaining / decaying if remaining < decaying else 1.0

    @property
    def generates(self) -> bool:
        """Whether a generator is trained, which can be served."""
        return False

    @property
    def classifies(self) -> bool:
        """Whether the discriminator is a classifier too, which has a test accuracy and can be served."""
        return False

    @property
    def needs_labels(self) -> bool:
        """Whether the training looks at the images' labels."""
        return False

    @property
    def detects(self) -> bool:
        """Whether an autoencoder is trained, whose neurons can be searched for concepts and served."""
        return False

    @property
    def is_conditional(self) -> bool:
        """Whether the networks are told an image's class, so that a generator shows the class it is asked for."""
        return False

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What of a run can be packed and served."""
        trained: dict[Kind, bool] = {
            "generator": self.generates,
            "classifier": self.classifies,
            "neurons": self.detects,
        }
        return tuple(kind for kind, present in trained.items() if present)

    @classmethod
    def fields(cls) -> dict[str, About]:
        """Return what is known of the overridable fields, in the order of declaration."""
        return _fields(cls)  # type: ignore[arg-type]  # classes are hashable; mypy looks at their instances

    def overridden(self, values: Mapping[str, object]) -> Self:
        """Return a copy with some fields replaced.

        Args:
            values: by field name, either typed values or the text a person wrote, such as "500,500" for widths.

        Raises:
            RecipeError: for an unknown field, or a value of the wrong type or range.
        """
        for name in values:
            if name not in self.fields():
                known = ", ".join(self.fields())
                raise RecipeError(f"recipe {self.name} has no field {name!r}; its fields are {known}")
        return dataclasses.replace(self, **cast(dict[str, Any], dict(values)))

    def to_dict(self) -> dict[str, Any]:
        """Return the overridable fields as JSON values, in the order of declaration; no limit is null."""
        values = {name: getattr(self, name) for name in self.fields()}
        return {name: None if value == math.inf else value for name, value in values.items()}

    def _checked(self, name: str, value: object) -> object:
        """Return the value in the field's type, or raise RecipeError saying what was expected."""
        kind, about = _kinds(type(self))[name], self.fields()[name]  # type: ignore[arg-type]
        try:
            typed = _converted(kind, value)
        except (TypeError, ValueError):
            raise RecipeError(f"{name}={value!r}: expected {_described(kind)} ({about.text})") from None
        numbers = typed if isinstance(typed, tuple) else (typed,)
        if any(not about.minimum <= number <= about.maximum for number in numbers if not isinstance(number, str)):
            raise RecipeError(f"{name}={value!r}: must lie in [{about.minimum}, {about.maximum}] ({about.text})")
        return typed


@dataclass(frozen=True, slots=True, kw_only=True)
class GanRecipe(Recipe):
    """What the recipes share that train a generator of latents."""

    latent_size: Annotated[int, About("length of the latent vector", 1, 65_536)] = 100
    latent_distribution: Annotated[LatentDistribution, About("what a latent's entries are drawn from")] = "uniform11"
    average_share: Annotated[float, About("half-life of averaged weights, as a share of images seen", 0, 1)] = 0.04

    @property
    def generates(self) -> bool:
        """It trains a generator."""
        return True

    @property
    def latent(self) -> tuple[int, LatentDistribution]:
        """Length of the generator's latents, and what their entries are drawn from."""
        return self.latent_size, self.latent_distribution


@functools.cache
def _fields(recipe: Any) -> dict[str, About]:
    hints = get_type_hints(recipe, include_extras=True)
    declared = (field.name for field in dataclasses.fields(recipe))
    return {name: hints[name].__metadata__[0] for name in declared if hasattr(hints[name], "__metadata__")}


@functools.cache
def _kinds(recipe: Any) -> dict[str, Any]:
    """Return the types of a recipe's fields by name."""
    return get_type_hints(recipe)


def _converted(kind: Any, value: object) -> object:
    """Convert text or a JSON value to the field's type; ValueError if it is not of that type."""
    if kind is int:
        return _whole(value)
    if kind is float:
        return _real(value)
    if kind in (Widths, Weights):
        parts = [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if not isinstance(parts, list | tuple) or not parts:
            raise ValueError(value)
        return tuple(_whole(part) if kind == Widths else _real(part) for part in parts)
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
    names = {
        int: "a whole number",
        float: "a number",
        Widths: "whole numbers with commas between",
        Weights: "numbers with commas between",
    }
    return names.get(kind) or "one of " + json.dumps(get_args(kind))[1:-1]
