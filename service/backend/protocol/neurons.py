"""What the service knows about an autoencoder: the shape of its stages and its concepts. Kept in its record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.backend.protocol import decoding
from service.errors import NotFound
from service.validation import CONCEPT, shown


@dataclass(frozen=True, slots=True)
class UnitShape:
    """The shape of a stage: units count through [maps, height, width]."""

    maps: int
    height: int
    width: int

    @property
    def units(self) -> int:
        """Number of units."""
        return math.prod((self.maps, self.height, self.width))


@dataclass(frozen=True, slots=True)
class Neuron:
    """A unit, from 0, of a stage, from 1; the sign says which end of its activations counts."""

    stage: int
    unit: int
    sign: int


@dataclass(frozen=True, slots=True)
class Concept:
    """A named thing that a neuron knows, and how well; `mintage.v1.Concept` says what each number is."""

    name: str
    stage: int
    unit: int
    sign: int
    threshold: float
    slope: float
    intercept: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    auroc: float
    positives: int
    distractors: int

    @property
    def neuron(self) -> Neuron:
        """The neuron."""
        return Neuron(self.stage, self.unit, self.sign)


def read_stages(header: Mapping[str, Any]) -> tuple[UnitShape, ...]:
    """Read the stages of a description; none where it names none.

    Raises:
        Internal: if they are damaged.
    """
    return read_shapes(header, "stages")


def read_shapes(header: Mapping[str, Any], name: str) -> tuple[UnitShape, ...]:
    """Read a list of shapes of a description; none where it names none.

    Raises:
        Internal: if they are damaged.
    """
    stages = header.get(name, [])
    if not isinstance(stages, list) or not all(isinstance(stage, list) and len(stage) == 3 for stage in stages):
        raise decoding.damaged(f"{name} is no list of [maps, height, width]")
    named = [dict(zip(("maps", "height", "width"), stage, strict=True)) for stage in stages]
    return tuple(UnitShape(**{name: decoding.whole(stage, name, minimum=1) for name in stage}) for stage in named)


def read_concepts(header: Mapping[str, Any], stages: tuple[UnitShape, ...]) -> tuple[Concept, ...]:
    """Read the concepts of a description in order of their names; none where it names none.

    Raises:
        Internal: if they are damaged, or a neuron is none of the stages'.
    """
    concepts = header.get("concepts", [])
    if not isinstance(concepts, list) or not all(isinstance(concept, dict) for concept in concepts):
        raise decoding.damaged("concepts is no list of objects")
    return tuple(sorted((_concept(values, stages) for values in concepts), key=lambda concept: concept.name))


def named(concepts: tuple[Concept, ...], name: str) -> Concept:
    """Return one concept.

    Raises:
        NotFound: if there is none of that name; the metadata names those that exist.
    """
    for concept in concepts:
        if concept.name == name:
            return concept
    known = ",".join(concept.name for concept in concepts)[:1000]
    text = f"it has {known.replace(',', ', ')}" if known else "it has none; `mintage neurons find` looks for them"
    raise NotFound(
        f"the model has no concept {shown(name)}; {text}", reason="CONCEPT_NOT_FOUND", metadata={"concepts": known}
    )


def _concept(values: Mapping[str, Any], stages: tuple[UnitShape, ...]) -> Concept:
    whole = {name: decoding.whole(values, name, minimum=minimum) for name, minimum in _WHOLE.items()}
    real = {name: decoding.real(values, name) for name in _REAL}
    concept = Concept(name=decoding.text(values, "name"), **whole, **real)  # type: ignore[arg-type]
    if not CONCEPT.fullmatch(concept.name) or concept.sign not in (-1, 1):
        raise decoding.damaged("a concept has an impossible name or sign")
    if concept.stage > len(stages) or concept.unit >= stages[concept.stage - 1].units:
        raise decoding.damaged(f"the neuron of concept {concept.name} is none of the model's")
    return concept


_WHOLE = {"stage": 1, "unit": 0, "sign": -1, "positives": 0, "distractors": 0}
_REAL = ("threshold", "slope", "intercept", "accuracy", "accuracy_low", "accuracy_high", "auroc")
