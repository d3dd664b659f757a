"""ClassificationService: what images show."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from mintage.v1 import classification_pb2, classification_pb2_grpc
from numpy.typing import NDArray

from service import images
from service.inference import Classified, Inference
from service.registry import ModelRecord, Registry
from service.servicers import deadline_of
from service.settings import Settings
from service.validation import Violations


class ClassificationServicer(classification_pb2_grpc.ClassificationServiceServicer):
    """Answers ClassificationService."""

    def __init__(self, settings: Settings, registry: Registry, inference: Inference) -> None:
        self._settings = settings
        self._registry = registry
        self._inference = inference

    async def Classify(
        self, request: classification_pb2.ClassifyRequest, context: Any
    ) -> classification_pb2.ClassifyResponse:
        """Classify images."""
        deadline = deadline_of(context, self._settings.max_deadline_s)
        name = _checked_model(request, self._settings.max_images)
        record = self._registry.ready(name, "classifier")
        _check_fits(request, record)
        decode = functools.partial(_pixels, request, record, self._settings.max_image_pixels)
        classified = await self._inference.classify(record, decode, size_bytes=request.ByteSize(), deadline=deadline)
        return _answer(record, classified)


def _checked_model(request: classification_pb2.ClassifyRequest, max_images: int) -> str:
    """Check everything that needs no model; returns the model's name."""
    violations = Violations()
    name = violations.model_name("model", request.model)
    match request.WhichOneof("images"):
        case "encoded":
            count = len(request.encoded.files)
            if not 1 <= count <= max_images:
                violations.add("encoded.files", f"must hold from 1 to {max_images:,} files, not {count:,}")
        case "raw":
            _check_raw(request.raw, max_images, violations)
        case _:
            violations.add("images", "must be given, as encoded or raw")
    violations.check()
    return name


def _check_raw(raw: classification_pb2.RawImages, max_images: int, violations: Violations) -> None:
    violations.in_range("raw.count", raw.count, 1, max_images)
    sides = {"height": raw.height, "width": raw.width, "channels": raw.channels}
    for side, value in sides.items():
        if value < 1:
            violations.add(f"raw.{side}", f"must be at least 1, not {value:,}")
    expected = raw.count * raw.height * raw.width * raw.channels
    if min(raw.count, *sides.values()) > 0 and len(raw.pixels) != expected:
        violations.add(
            "raw.pixels", f"must hold count * height * width * channels = {expected:,} bytes, not {len(raw.pixels):,}"
        )


def _check_fits(request: classification_pb2.ClassifyRequest, record: ModelRecord) -> None:
    """Check that raw images have the model's size, and that image files can have its channels."""
    violations = Violations()
    if request.HasField("encoded") and record.channels not in images.CHANNELS:
        violations.add("encoded", f"must be raw instead: the model's images have {record.channels} channels")
    for side in ("height", "width", "channels") if request.HasField("raw") else ():
        given, expected = getattr(request.raw, side), getattr(record, side)
        if given != expected:
            violations.add(f"raw.{side}", f"must be the model's, {expected:,}, not {given:,}")
    violations.check()


def _pixels(request: classification_pb2.ClassifyRequest, record: ModelRecord, max_pixels: int) -> NDArray[np.uint8]:
    """The images of a request as uint8 [N, H, W, C]."""
    shape = (record.height, record.width, record.channels)
    if request.HasField("raw"):
        return np.frombuffer(request.raw.pixels, np.uint8).reshape(-1, *shape)
    return images.decode(
        request.encoded.files,
        height=record.height,
        width=record.width,
        channels=record.channels,
        max_pixels=max_pixels,
        field="encoded.files",
    )


def _answer(record: ModelRecord, classified: Classified) -> classification_pb2.ClassifyResponse:
    answer = classification_pb2.ClassifyResponse(
        model=f"models/{record.name}", model_digest=record.digest, classes=record.classes
    )
    best = classified.probabilities.argmax(axis=1)
    for index, probabilities in enumerate(classified.probabilities):
        answer.classifications.add(
            probabilities=probabilities.tolist(),
            generated_probability=None if classified.generated is None else float(classified.generated[index]),
            best_class=int(best[index]),
        )
    return answer
