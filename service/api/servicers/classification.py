"""ClassificationService: classifies images."""

from __future__ import annotations

import functools
from typing import Any

from mintage.v1 import classification_pb2, classification_pb2_grpc

from service.api.requests import uploads
from service.api.requests.clients import caller_of
from service.models.asking.inference import ClassProbabilities, Inference
from service.models.records import ModelRecord
from service.models.registry import Registry
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
        caller = caller_of(context, self._settings.max_deadline_s)
        violations = Violations()
        name = violations.model_name("model", request.model)
        uploads.check(request, self._settings.max_images, violations)
        violations.check()
        record = self._registry.ready(name, "classifier")
        uploads.check_fits(request, record, violations)
        violations.check()
        decode = functools.partial(uploads.pixels, request, record, self._settings.max_image_pixels)
        classified = await self._inference.classify(record, decode, size_bytes=request.ByteSize(), caller=caller)
        return _answer(record, classified)


def _answer(record: ModelRecord, classified: ClassProbabilities) -> classification_pb2.ClassifyResponse:
    answer = classification_pb2.ClassifyResponse(
        model=f"models/{record.name}", model_digest=record.digest, classes=record.classes
    )
    best = classified.probabilities.argmax(axis=1)  # [N]
    for index, probabilities in enumerate(classified.probabilities):
        answer.classifications.add(
            probabilities=probabilities.tolist(),
            generated_probability=None if classified.generated is None else float(classified.generated[index]),
            best_class=int(best[index]),
        )
    return answer
