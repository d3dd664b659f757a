"""The base of all recipes: a frozen dataclass with overridable fields, checked by type and range."""

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
Kind = Literal["generator", "classifier", "neurons", "discriminator"]  # of what can be packed and served
Threads = int | Literal["auto"]
Widths = tuple[int, ...]
Weights = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class About:
    """The meaning of a recipe's field, and its inclusive range."""

    text: str
    minimum: float = -math.inf
    maximum: float = math.inf


Hidden = Annotated[Widths, About("hidden units, layer by layer", 1, 65_536)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The fields that the recipes of all families share.

    Fields annotated with `About` can be overridden; the others describe the recipe.
    """

    FAMILY: ClassVar[str]  # the module of training/families that builds the networks and begins the training
    DESCRIPTION: ClassVar[str]  # what is trained, a sentence for the card
    LIMITS: ClassVar[tuple[str, ...]]  # what the model is not for, sentences for the card

    name: str
    source: str
    cost: str
    expected: str
    data: str | None = None  # default of `--data`; None if it is required
    size: tuple[int, int] | None = None  # (H, W) that images are resized to; None keeps their size
    channels: int | None = None  # 1 or 3, converts images to grey or colour; None keeps them

    seed: Annotated[int, About("seed of every random choice of the run", 0, 2**63 - 1)] = 1
    images: Annotated[int, About("length of the run, in real images", 1)]
    max_seconds: Annotated[float, About("cap on the wall-clock time of one start, s; inf for none", 0)] = math.inf

    decay_from: Annotated[float, About("share of the run after which the learning rates fall linearly to 0", 0, 1)] = (
        1.0
    )

    # What `auto` means: training/compute/threads.py.
    threads: Annotated[
        Threads,
        About("CPU threads, on which a run's last bits depend; auto: as many as help, chosen at the start", 1, 1024),
    ] = "auto"
    # What `auto` means: training/compute/acceleration.py.
    device: Annotated[Literal["auto", "cpu", "cuda"], About("what computes; auto is the GPU where there is one")] = (
        "auto"
    )
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        About("of the networks; auto is bfloat16 for GANs where the device has units for it"),
    ] = "auto"
    memory_format: Annotated[
        Literal["auto", "contiguous", "channels-last"], About("of maps; auto is channels-last with bfloat16")
    ] = "auto"
    compile: Annotated[
        Literal["no", "yes"], About("whether to compile the networks with torch.compile; needs a C++ compiler")
    ] = "no"
    report_images: Annotated[int, About("images between two lines of metrics", 1)] = 10_000
    checkpoint_images: Annotated[int, About("images between two checkpoints and sample grids", 1)] = 600_000
    checkpoint_seconds: Annotated[
        float, About("time after which a checkpoint is written anyway, s; inf for never", 0)
    ] = 300.0
    sample_seconds: Annotated[float, About("time after which latest.png is drawn anyway, s; inf for never", 0)] = 60.0

    def __post_init__(self) -> None:
        """Check the type and the range of every overridable field."""
        for name in self.fields():
            object.__setattr__(self, name, self._checked(name, getattr(self, name)))

    @property
    def batch_images(self) -> int:
        """The number of real images that a step advances the run by."""
        raise NotImplementedError

    @property
    def batch_sizes(self) -> dict[str, int]:
        """The sizes of a step's batches by field; each is divided among the processes."""
        return {"batch": self.batch_images}

    @property
    def min_images(self) -> int:
        """The least number of training images that a step and the choice of labelled images need."""
        return self.batch_images

    @property
    def latent(self) -> tuple[int, LatentDistribution]:
        """Z of the generator, 0 without one, and the distribution of latents."""
        return 0, "uniform11"

    def rate_share(self, images_seen: int) -> float:
        """Return the factor of the learning rates, in [0, 1]: 1, then falling linearly to 0 at the end of the run."""
        remaining, decaying = 1 - images_seen / self.images, 1 - self.decay_from
        return remaining / decaying if remaining < decaying else 1.0

    def schedule_by_length(self) -> str | None:
        """Say what in the schedule depends on the length of the run; None if a longer run begins as this one."""
        if self.decay_from < 1:
            return f"with decay_from={self.decay_from:g} the learning rates fall towards the end of the run"
        return None

    @property
    def verb(self) -> tuple[str, ...]:
        """The words of the command that trains it, before its options."""
        return "train", self.name

    @property
    def gains_from_threads(self) -> bool:
        """Whether a step is faster with several CPU threads."""
        return False

    @property
    def generates(self) -> bool:
        """Whether it trains a generator, which can be served."""
        return False

    @property
    def classifies(self) -> bool:
        """Whether it trains a classifier, which has a test accuracy and can be served."""
        return False

    @property
    def needs_labels(self) -> bool:
        """Whether training uses the images' labels."""
        return False

    @property
    def detects(self) -> bool:
        """Whether it trains an autoencoder, whose neurons can be searched for concepts and served."""
        return False

    @property
    def encodes(self) -> bool:
        """Whether it trains an encoder of another run's generator, which is packed beside that."""
        return False

    @property
    def is_conditional(self) -> bool:
        """Whether the networks are conditioned on the class."""
        return False

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """The kinds of network that a run can serve; a classifier is the discriminator of its run."""
        trained: dict[Kind, bool] = {
            "generator": self.generates,
            "classifier": self.classifies,
            "neurons": self.detects,
            "discriminator": self.generates and not self.classifies,
        }
        return tuple(kind for kind, present in trained.items() if present)

    @classmethod
    def fields(cls) -> dict[str, About]:
        """Return the overridable fields in order of declaration."""
        return _fields(cls)  # type: ignore[arg-type]  # classes are hashable; mypy looks at their instances

    def overridden(self, values: Mapping[str, object]) -> Self:
        """Return a copy with some fields replaced.

        Args:
            values: by field name, typed values or text, such as "500,500" for widths.

        Raises:
            RecipeError: for an unknown field, or a value of the wrong type or range.
        """
        for name in values:
            if name not in self.fields():
                known = ", ".join(self.fields())
                raise RecipeError(f"recipe {self.name} has no field {name!r}; its fields are {known}")
        return dataclasses.replace(self, **cast(dict[str, Any], dict(values)))

    def to_dict(self) -> dict[str, Any]:
        """Return the overridable fields as JSON values in order of declaration; infinity is null."""
        values = {name: getattr(self, name) for name in self.fields()}
        return {name: None if value == math.inf else value for name, value in values.items()}

    def _checked(self, name: str, value: object) -> object:
        """Return the value in the field's type; RecipeError if its type or range is wrong."""
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
    """The fields shared by recipes that train a generator."""

    latent_size: Annotated[int, About("length of the latent vector", 1, 65_536)] = 100
    latent_distribution: Annotated[LatentDistribution, About("distribution of latents")] = "uniform11"
    average_share: Annotated[float, About("half-life of averaged weights, as a share of the images seen", 0, 1)] = 0.04

    @property
    def generates(self) -> bool:
        """True: it trains a generator."""
        return True

    @property
    def latent(self) -> tuple[int, LatentDistribution]:
        """Z of the generator, and the distribution of latents."""
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
    if kind == Threads:
        return value if value == "auto" else _whole(value)
    if kind is str:
        return _text(value)
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


def _text(value: object) -> str:
    """Return text unchanged; ValueError for anything else."""
    if not isinstance(value, str):
        raise ValueError(value)
    return value


def _real(value: object) -> float:
    """Convert a number or its text to float; None means infinity, NaN is a ValueError."""
    if value is None:
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(value)
    number = float(value)
    if math.isnan(number):
        raise ValueError(value)
    return number


def _described(kind: Any) -> str:
    """Describe a field's type in words."""
    names = {
        int: "a whole number",
        float: "a number",
        str: "text",
        Threads: "auto or a whole number",
        Widths: "whole numbers with commas between",
        Weights: "numbers with commas between",
    }
    return names.get(kind) or "one of " + json.dumps(get_args(kind))[1:-1]
