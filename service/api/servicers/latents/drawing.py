"""Draw: the images of latents."""

from __future__ import annotations

from typing import Any

from mintage.v1 import latents_pb2

from service.api.answers import serialized
from service.api.requests import encodings
from service.api.requests.clients import caller_of
from service.api.requests.encodings import ENCODINGS
from service.api.requests.feature_maps import masks_of
from service.api.servicers.exploring import Exploring
from service.models.asking.drawing import DrawnLatents
from service.validation import Violations

MAX_LATENTS = 1024


class LatentDrawing(Exploring):
    """Answers Draw; the answer is serialised already."""

    async def draw(self, request: latents_pb2.DrawRequest, context: Any) -> bytes:
        """Draw latents, at once."""
        violations = Violations()
        name = violations.model_name("model", request.model)
        count, most = len(request.latents), min(MAX_LATENTS, self._settings.max_images)
        if not 1 <= count <= most:
            violations.add("latents", f"must hold from 1 to {most:,} latents, not {count:,}")
        encodings.check_known(request.format, violations)
        violations.check()
        record = self._registry.ready(name, "generator")
        class_index, known = self._checked_latents("latents", request.latents, request, record, violations)
        drop, keep = masks_of(request, record, violations)
        violations.check()
        chosen, largest = encodings.fitting(request.format, record, self._settings.max_message_bytes)
        encodings.check_fits("latents", count, largest)
        drawn = await self._inference.draw(
            record,
            DrawnLatents(request.latents, known, class_index, drop=drop, keep=keep),
            encoding=ENCODINGS[chosen],
            caller=caller_of(context, self._settings.max_deadline_s),
        )
        answer = latents_pb2.DrawResponse(
            model=f"models/{record.name}",
            model_digest=record.digest,
            shape=encodings.shape_of(record),
            format=chosen,
            device_class=drawn.device_class,
        )
        return serialized(answer, images=drawn.files)
