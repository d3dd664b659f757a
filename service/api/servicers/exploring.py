"""What the calls about a generator's latents have in common: what they ask with, and how these are checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mintage.v1.latents_pb2 import Latent

from service.api.requests import formulas
from service.backend.protocol.drawing_messages import Directions
from service.models.asking.inference import Inference
from service.models.directions.store import SavedDirections
from service.models.records import ModelRecord
from service.models.registry import Registry
from service.settings import Settings
from service.validation import Violations


class Exploring:
    """Base of the classes that answer calls about latents.

    Args:
        settings: Of the service.
        registry: Of the models.
        inference: Asks models.
        directions: The saved ones, which formulas may name.
    """

    def __init__(
        self, settings: Settings, registry: Registry, inference: Inference, directions: SavedDirections
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._inference = inference
        self._directions = directions

    def _checked_latents(
        self,
        field: str,
        latents: Sequence[Latent],
        request: Any,
        record: ModelRecord,
        violations: Violations,
        *,
        limits: formulas.Limits = formulas.FORMULA,
    ) -> tuple[int | None, Directions]:
        """Note what is wrong with a request's class and latents; returns the class, and the directions they name."""
        class_index = class_of(request)
        formulas.check_class(class_index, record, violations)
        return class_index, formulas.check_latents(field, latents, record, self._directions, violations, limits=limits)


def class_of(request: Any) -> int | None:
    """Return the class that a request asks for, if it does."""
    return request.class_index if request.HasField("class_index") else None
