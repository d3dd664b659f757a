"""GenerationService: images now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from mintage.v1 import generation_pb2, generation_pb2_grpc
from numpy.typing import NDArray

from service import images
from service.inference import Inference
from service.registry import ModelRecord, Registry
from service.servicers import deadline_of
from service.settings import Settings
from service.validation import Violations

LAST_INDEX = 2**63 - 1
ANSWER_OVERHEAD_BYTES = 4096

Format = generation_pb2.ImageFormat
IMAGE_OVERHEAD_BYTES = 16


@dataclass(frozen=True, slots=True)
class Form:
    """How images [N, H, W, C] are encoded, and the most bytes of one of (height, width, channels)."""

    encode: Callable[[NDArray[np.uint8]], list[bytes]]
    most_bytes: Callable[[int, int, int], int]


FORMS: dict[Format.ValueType, Form] = {
    Format.IMAGE_FORMAT_PNG: Form(images.encode_png, images.most_png_bytes),
    Format.IMAGE_FORMAT_JPEG: Form(images.encode_jpeg, images.most_jpeg_bytes),
    Format.IMAGE_FORMAT_RAW: Form(images.encode_raw, images.most_raw_bytes),
}


class GenerationServicer(generation_pb2_grpc.GenerationServiceServicer):
    """Answers GenerationService."""

    def __init__(self, settings: Settings, registry: Registry, inference: Inference) -> None:
        self._settings = settings
        self._registry = registry
        self._inference = inference

    async def Generate(self, request: generation_pb2.GenerateRequest, context: Any) -> generation_pb2.GenerateResponse:
        """Generate images."""
        deadline = deadline_of(context, self._settings.max_deadline_s)
        name = _checked_model(request, self._settings.max_images)
        record = self._registry.ready(name, "generator")
        chosen = request.format or Format.IMAGE_FORMAT_PNG
        _check_format(chosen, record)
        _check_answer_fits(request.count, record, FORMS[chosen], self._settings.max_message_bytes)
        generated = await self._inference.generate(
            record,
            seed=request.seed,
            first_index=request.first_index,
            count=request.count,
            encode=FORMS[chosen].encode,
            deadline=deadline,
        )
        return generation_pb2.GenerateResponse(
            model=f"models/{record.name}",
            model_digest=record.digest,
            shape=generation_pb2.ImageShape(height=record.height, width=record.width, channels=record.channels),
            format=chosen,
            first_index=request.first_index,
            images=generated.files,
            device_class=generated.device_class,
        )


def _checked_model(request: generation_pb2.GenerateRequest, max_images: int) -> str:
    """Check everything that needs no model; returns the model's name."""
    violations = Violations()
    name = violations.model_name("model", request.model)
    violations.in_range("count", request.count, 1, max_images)
    if request.first_index < 0:
        violations.add("first_index", f"must not be negative, as {request.first_index:,} is")
    elif request.first_index + max(0, request.count) > LAST_INDEX:
        violations.add("first_index", f"first_index + count must be at most {LAST_INDEX:,}")
    if request.format not in (Format.IMAGE_FORMAT_UNSPECIFIED, *FORMS):
        known = ", ".join(Format.Name(value) for value in FORMS)
        violations.add("format", f"must be one of {known}, not {request.format}")
    violations.check()
    return name


def _check_format(chosen: Format.ValueType, record: ModelRecord) -> None:
    """Refuse a file format for images that are neither grey nor RGB."""
    if chosen != Format.IMAGE_FORMAT_RAW and record.channels not in images.CHANNELS:
        violations = Violations()
        violations.add("format", f"must be IMAGE_FORMAT_RAW: the model's images have {record.channels} channels")
        violations.check()


def _check_answer_fits(count: int, record: ModelRecord, form: Form, max_message_bytes: int) -> None:
    """Refuse a count whose answer might be more than one message."""
    image_bytes = form.most_bytes(record.height, record.width, record.channels) + IMAGE_OVERHEAD_BYTES
    largest = (max_message_bytes - ANSWER_OVERHEAD_BYTES) // image_bytes
    if count > largest:
        violations = Violations()
        violations.add("count", f"must be at most {largest:,} for the answer to fit in one message, not {count:,}")
        violations.check()
