"""GenerationService: generates images while the caller waits."""

from __future__ import annotations

from typing import Any

from mintage.v1 import generation_pb2, generation_pb2_grpc

from service.api.answers import serialized
from service.api.requests import encodings
from service.api.requests.clients import caller_of
from service.api.requests.encodings import ENCODINGS
from service.api.requests.uploads import ANSWER_OVERHEAD_BYTES
from service.models.inference import Inference
from service.models.registry import ModelRecord, Registry
from service.settings import Settings
from service.validation import Violations

LAST_INDEX = 2**63 - 1  # the largest int64


class GenerationServicer(generation_pb2_grpc.GenerationServiceServicer):
    """Answers GenerationService."""

    def __init__(self, settings: Settings, registry: Registry, inference: Inference) -> None:
        self._settings = settings
        self._registry = registry
        self._inference = inference

    async def Generate(self, request: generation_pb2.GenerateRequest, context: Any) -> Any:
        """Generate images; the answer is serialised already."""
        caller = caller_of(context, self._settings.max_deadline_s)
        name = _checked_model(request, self._settings.max_images)
        record = self._registry.ready(name, "generator")
        chosen = _checked_format(request, record, self._settings.max_message_bytes)
        generated = await self._inference.generate(
            record,
            seed=request.seed,
            first_index=request.first_index,
            count=request.count,
            encoding=ENCODINGS[chosen],
            caller=caller,
        )
        answer = generation_pb2.GenerateResponse(
            model=f"models/{record.name}",
            model_digest=record.digest,
            shape=encodings.shape_of(record),
            format=chosen,
            first_index=request.first_index,
            device_class=generated.device_class,
        )
        return serialized(answer, "images", generated.files)


def _checked_model(request: generation_pb2.GenerateRequest, max_images: int) -> str:
    """Check everything that needs no model; returns the model's name."""
    violations = Violations()
    name = violations.model_name("model", request.model)
    violations.in_range("count", request.count, 1, max_images)
    if request.first_index < 0:
        violations.add("first_index", f"must not be negative, as {request.first_index:,} is")
    elif request.first_index + max(0, request.count) > LAST_INDEX:
        violations.add("first_index", f"first_index + count must be at most {LAST_INDEX:,}")
    encodings.check_known(request.format, violations)
    violations.check()
    return name


def _checked_format(
    request: generation_pb2.GenerateRequest, record: ModelRecord, max_message_bytes: int
) -> encodings.Format.ValueType:
    """Return the format; refuse one that the images cannot have, and a count whose answer might be too large."""
    violations = Violations()
    chosen = encodings.chosen(request.format, record, violations)
    violations.check()
    largest = (max_message_bytes - ANSWER_OVERHEAD_BYTES) // encodings.max_bytes(ENCODINGS[chosen], record)
    if request.count > largest:
        violations.add(
            "count", f"must be at most {largest:,} for the answer to fit in one message, not {request.count:,}"
        )
    violations.check()
    return chosen
