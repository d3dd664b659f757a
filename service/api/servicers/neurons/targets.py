"""What a request about neurons may name: concepts, or a unit of a stage with a sign."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

from mintage.v1 import neurons_pb2

from service.backend.protocol.neurons import Concept, Neuron, named
from service.errors import FailedPrecondition
from service.models.records import ModelRecord
from service.validation import CONCEPT, Violations, shown

CONCEPT_EXPECTED = "1 to 63 of a-z, 0-9 and -, not - at its ends"


class TargetRequest(Protocol):
    """A request about one neuron."""

    @property
    def concept(self) -> str:
        """Name of the concept whose neuron it is."""

    @property
    def neuron(self) -> neurons_pb2.Neuron:
        """The neuron by its place."""

    def WhichOneof(self, oneof_group: Literal["target"], /) -> Literal["concept", "neuron"] | None:
        """Which of them it names."""


def check_concepts(names: Sequence[str], violations: Violations) -> None:
    """Check that each name could be a concept's, and comes once."""
    seen: set[str] = set()
    for index, name in enumerate(names):
        violations.matches(f"concepts[{index}]", name, CONCEPT, CONCEPT_EXPECTED)
        if name in seen:
            violations.add(f"concepts[{index}]", f"names {shown(name)} once more")
        seen.add(name)


def check_target(request: TargetRequest, violations: Violations) -> None:
    """Check what can be checked of the target without the model."""
    match request.WhichOneof("target"):
        case "concept":
            violations.matches("concept", request.concept, CONCEPT, CONCEPT_EXPECTED)
        case "neuron":
            if request.neuron.sign not in (-1, 0, 1):
                violations.add("neuron.sign", f"must be 1, -1, or 0 for 1, not {request.neuron.sign:,}")
        case _:
            violations.add("target", "must be given, as concept or neuron")


def concepts_of(names: Sequence[str], record: ModelRecord) -> tuple[Concept, ...]:
    """Return the named concepts in that order, or all.

    Raises:
        FailedPrecondition: if the model has none.
        NotFound: if it has none of a name.
    """
    if not record.concepts:
        text = f"models/{record.name} has no concepts yet; `mintage neurons find` looks for them in its run"
        raise FailedPrecondition(text, reason="NO_CONCEPTS")
    return tuple(named(record.concepts, name) for name in names) or record.concepts


def neuron_of(request: TargetRequest, record: ModelRecord, violations: Violations) -> Neuron:
    """Return the neuron that a request names; notes a stage or a unit that the model does not have.

    Raises:
        NotFound: if it names a concept that the model does not have.
    """
    if request.WhichOneof("target") == "concept":
        violations.check()
        return named(record.concepts, request.concept).neuron
    place = request.neuron
    if check_stage(place.stage, record, "neuron.stage", violations):
        violations.in_range("neuron.unit", place.unit, 0, record.stages[place.stage - 1].units - 1)
    return Neuron(place.stage, place.unit, place.sign or 1)


def units_of(request: neurons_pb2.ActivationsRequest, record: ModelRecord, violations: Violations) -> int:
    """Return how many units a request asks for; notes a stage or a unit that the model does not have."""
    if not check_stage(request.stage, record, "stage", violations):
        return len(request.units)
    there = record.stages[request.stage - 1].units
    for index, unit in enumerate(request.units):
        violations.in_range(f"units[{index}]", unit, 0, there - 1)
    return len(request.units) or there


def check_stage(stage: int, record: ModelRecord, field: str, violations: Violations) -> bool:
    """Return whether the model has a stage; notes `field` if not."""
    violations.in_range(field, stage, 1, len(record.stages))
    return 1 <= stage <= len(record.stages)
