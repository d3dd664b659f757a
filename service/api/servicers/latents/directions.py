"""Saved directions: listed, saved, deleted. And those that are found, which is saving nothing."""

from __future__ import annotations

import math
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp
from mintage.latents import FUNCTIONS
from mintage.v1 import latents_pb2

from service.api.requests import formulas
from service.api.requests.clients import caller_of
from service.api.requests.pagination import first_page, page_size, page_start
from service.api.servicers.exploring import Exploring
from service.backend.protocol.neurons import named
from service.models.asking.inference import Inference
from service.models.directions.finding import ANSWERING, Answer, ClassAnswer, ConceptAnswer, DirectionFinder
from service.models.directions.store import Direction, SavedDirections
from service.models.records import ModelRecord
from service.models.registry import Registry
from service.settings import Settings
from service.validation import CONCEPT, DIRECTION, DIRECTION_NAME, Violations, shown

NAME_EXPECTED = "1 to 63 of a-z, 0-9, - and _, beginning with a letter"
MAX_LATENTS = 1024
MAX_FROM_WEIGHTS, FROM_WEIGHTS = 64, 8
MIN_SAMPLES, MAX_SAMPLES, SAMPLES = 64, 16_384, 1024


class LatentDirections(Exploring):
    """Answers ListDirections, SaveDirection, DeleteDirection and FindDirections."""

    def __init__(
        self, settings: Settings, registry: Registry, inference: Inference, directions: SavedDirections
    ) -> None:
        super().__init__(settings, registry, inference, directions)
        self._finder = DirectionFinder(inference)

    async def list_saved(self, request: latents_pb2.ListDirectionsRequest) -> latents_pb2.ListDirectionsResponse:
        """List the directions of a model's present archive."""
        violations = Violations()
        name = violations.model_name("model", request.model)
        size = page_size(request.page_size, violations)
        after = page_start(request.page_token, DIRECTION_NAME, violations)
        violations.check()
        record = self._registry.find(name, "generator")
        found = await self._inference.in_pool(self._page, record, after, size)
        page, token = first_page(found, size, lambda direction: f"directions/{direction.name}")
        return latents_pb2.ListDirectionsResponse(
            directions=[message(each, record) for each in page], next_page_token=token
        )

    async def save(self, request: latents_pb2.SaveDirectionRequest) -> latents_pb2.SaveDirectionResponse:
        """Save a direction."""
        violations = Violations()
        name = violations.model_name("model", request.model)
        given = request.direction
        check_name("direction.name", given.name, violations)
        if given.name in FUNCTIONS:
            violations.add("direction.name", f"must not be {given.name}, which is a function in formulas")
        check_measures(given, violations)
        violations.check()
        record = self._registry.find(name, "generator")
        check_values(given, record, violations)
        violations.check()
        direction = Direction(
            name=given.name,
            values=tuple(given.values),
            description=given.description,
            accuracy=given.accuracy if given.HasField("accuracy") else None,
            strength=given.strength if given.HasField("strength") else None,
        )
        saved = await self._inference.in_pool(self._save, record, direction, request.replace)
        return latents_pb2.SaveDirectionResponse(direction=message(saved, record))

    async def delete(self, request: latents_pb2.DeleteDirectionRequest) -> latents_pb2.DeleteDirectionResponse:
        """Delete a direction."""
        violations = Violations()
        name = violations.model_name("model", request.model)
        check_name("direction", request.direction, violations)
        violations.check()
        record = self._registry.find(name, "generator")
        await self._inference.in_pool(self._directions.delete, record, request.direction)
        return latents_pb2.DeleteDirectionResponse()

    async def find(
        self, request: latents_pb2.FindDirectionsRequest, context: Any
    ) -> latents_pb2.FindDirectionsResponse:
        """Find directions."""
        caller = caller_of(context, self._settings.max_deadline_s)
        violations = Violations()
        name = violations.model_name("model", request.model)
        source = request.WhichOneof("source")
        match source:
            case "between":
                check_sets(request.between, violations)
            case "weights":
                violations.in_range("weights.count", request.weights.count, 0, MAX_FROM_WEIGHTS)
            case "answers":
                check_answers(request.answers, violations)
            case _:
                violations.add("source", "must be given, as between, weights or answers")
        violations.check()
        record = self._registry.ready(name, "generator")
        if source == "weights":
            found = await self._finder.from_weights(record, request.weights.count or FROM_WEIGHTS, caller=caller)
        elif source == "between":
            between, having = request.between, sets_of(request.between)[1]
            known = {
                **formulas.check_latents("between.without", between.without, record, self._directions, violations),
                **formulas.check_latents("between.with", having, record, self._directions, violations),
            }
            violations.check()
            found = [await self._finder.between(record, between.without, having, known, caller=caller)]
        else:
            other, answer = self._answering(request.answers, record, violations)
            samples, seed = request.answers.samples or SAMPLES, request.answers.seed
            found = [await self._finder.from_answers(record, other, answer, samples=samples, seed=seed, caller=caller)]
        return latents_pb2.FindDirectionsResponse(directions=[message(each, record) for each in found])

    def _page(self, record: ModelRecord, after: str, size: int) -> list[Direction]:
        """Read the directions whose names come after one: a page and one more."""
        names = [name for name in self._directions.names(record) if name > after][: size + 1]
        return list(self._directions.read(record, names).values())

    def _save(self, record: ModelRecord, direction: Direction, replace: bool) -> Direction:
        return self._directions.save(record, direction, replace_existing=replace)

    def _answering(
        self, answers: latents_pb2.FindDirectionsRequest.Answers, record: ModelRecord, violations: Violations
    ) -> tuple[ModelRecord, Answer]:
        """Return the model that answers, and what it answers."""
        wants_class = answers.WhichOneof("answer") == "class_name"
        kind = ANSWERING[ClassAnswer if wants_class else ConceptAnswer]
        other = self._registry.ready(answers.model.removeprefix("models/"), kind)
        for side, model in (("answers.model", other), ("model", record)):
            if model.channels not in (1, 3):
                violations.add(side, f"must be a model of grey or RGB images, not of {model.channels} channels")
        if wants_class and answers.class_name not in other.classes:
            known = ", ".join(other.classes)
            violations.add("answers.class_name", f"must be one of {known:.200}, not {shown(answers.class_name)}")
        violations.check()
        if wants_class:
            return other, ClassAnswer(other.classes.index(answers.class_name), answers.class_name)
        return other, ConceptAnswer(named(other.concepts, answers.concept))


def message(direction: Direction, record: ModelRecord) -> latents_pb2.Direction:
    """Show a direction of a generator."""
    found = latents_pb2.Direction(
        name=direction.name,
        values=direction.values,
        description=direction.description,
        accuracy=direction.accuracy,
        strength=direction.strength,
        model_digest=record.digest,
    )
    if direction.create_time:
        found.create_time.CopyFrom(_timestamp(direction.create_time))
    return found


def check_name(field: str, name: str, violations: Violations) -> None:
    """Note a field that cannot be a direction's name."""
    violations.matches(field, name, DIRECTION, NAME_EXPECTED)


def check_values(direction: latents_pb2.Direction, record: ModelRecord, violations: Violations) -> None:
    """Note values that are none of the model's latents."""
    if len(direction.values) != record.latent_size:
        expected = f"must be {record.latent_size:,} numbers, as in every latent of this model"
        violations.add("direction.values", f"{expected}, not {len(direction.values):,}")


def check_measures(direction: latents_pb2.Direction, violations: Violations) -> None:
    """Note numbers of a direction that are not finite, or no shares."""
    for index, value in enumerate(direction.values):
        if not math.isfinite(value):
            violations.add(f"direction.values[{index}]", f"must be a number, not {value}")
    for field in ("accuracy", "strength"):
        if direction.HasField(field):
            violations.in_range(f"direction.{field}", getattr(direction, field), 0, 1)


def sets_of(between: latents_pb2.FindDirectionsRequest.Between) -> tuple[Any, Any]:
    """Return the latents without and with a property; the field `with` is a word of Python."""
    return between.without, getattr(between, "with")


def check_sets(between: latents_pb2.FindDirectionsRequest.Between, violations: Violations) -> None:
    """Note sets that are empty or too large."""
    for field, latents in zip(("without", "with"), sets_of(between), strict=True):
        if not 1 <= len(latents) <= MAX_LATENTS:
            violations.add(f"between.{field}", f"must hold from 1 to {MAX_LATENTS:,} latents, not {len(latents):,}")


def check_answers(answers: latents_pb2.FindDirectionsRequest.Answers, violations: Violations) -> None:
    """Note what can be checked without the models."""
    violations.model_name("answers.model", answers.model)
    match answers.WhichOneof("answer"):
        case "concept":
            violations.matches("answers.concept", answers.concept, CONCEPT, "1 to 63 of a-z, 0-9 and -")
        case None:
            violations.add("answers.answer", "must be given, as class_name or concept")
    if answers.samples and not MIN_SAMPLES <= answers.samples <= MAX_SAMPLES:
        expected = f"must be from {MIN_SAMPLES} to {MAX_SAMPLES:,}, or 0 for {SAMPLES:,}"
        violations.add("answers.samples", f"{expected}, not {answers.samples:,}")


def _timestamp(seconds: float) -> Timestamp:
    found = Timestamp()
    found.FromMicroseconds(round(seconds * 1e6))
    return found
