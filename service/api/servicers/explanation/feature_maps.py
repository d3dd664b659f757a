"""FindFeatureMaps: which feature maps of a generator draw an object, Radford et al. 2015, section 6.3.1."""

from __future__ import annotations

from typing import Any

import numpy as np
from mintage.v1 import explanation_pb2

from service.api.requests.clients import caller_of
from service.api.requests.feature_maps import check_layer
from service.api.servicers.explanation.places import LEAST_PLACES, chosen_places
from service.api.servicers.exploring import Exploring
from service.errors import FailedPrecondition
from service.models.asking.explanation import Explanation
from service.models.asking.inference import Inference
from service.models.directions.store import SavedDirections
from service.models.records import ModelRecord
from service.models.registry import Registry
from service.settings import Settings
from service.validation import Violations
from training.scores.logistic import fit_logistic

MAX_LATENTS, MAX_BOXES = 1024, 4096


class FeatureMapSearch(Exploring):
    """Answers FindFeatureMaps."""

    def __init__(
        self, settings: Settings, registry: Registry, inference: Inference, directions: SavedDirections
    ) -> None:
        super().__init__(settings, registry, inference, directions)
        self._explanation = Explanation(inference)

    async def find(
        self, request: explanation_pb2.FindFeatureMapsRequest, context: Any
    ) -> explanation_pb2.FindFeatureMapsResponse:
        """Find the maps."""
        caller = caller_of(context, self._settings.max_deadline_s)
        violations = Violations()
        name = violations.model_name("model", request.model)
        for field, most in (("latents", MAX_LATENTS), ("boxes", MAX_BOXES)):
            if not 1 <= len(getattr(request, field)) <= most:
                violations.add(field, f"must hold from 1 to {most:,}, not {len(getattr(request, field)):,}")
        violations.check()
        record = self._registry.ready(name, "generator")
        layer = _layer(request, record, violations)
        class_index, known = self._checked_latents("latents", request.latents, request, record, violations)
        _check_boxes(request, record, violations)
        violations.check()
        places = chosen_places(request.boxes, len(request.latents), record, record.layers[layer - 1])
        if len(places.held_out) < LEAST_PLACES or len(places.positive) - len(places.held_out) < LEAST_PLACES:
            text = f"must leave {LEAST_PLACES} places inside and outside, which those of layer {layer} do not"
            violations.add("boxes", text)
            violations.check()
        activations = await self._explanation.tapped(
            record,
            request.latents,
            known,
            layer=layer,
            places=places.places,
            class_index=class_index,
            caller=caller,
        )

        def fitted() -> tuple[Any, float]:
            train = np.setdiff1d(np.arange(len(places.positive)), places.held_out)
            part = fit_logistic(activations[train], places.positive[train])
            accuracy = part.accuracy(activations[places.held_out], places.positive[places.held_out])
            return fit_logistic(activations, places.positive).weights, accuracy

        weights, accuracy = await self._inference.in_pool(fitted)
        return explanation_pb2.FindFeatureMapsResponse(
            model=f"models/{record.name}",
            model_digest=record.digest,
            layer=layer,
            maps=(
                explanation_pb2.MapWeight(map=int(each), weight=float(weights[each]))
                for each in np.argsort(-weights, kind="stable")
            ),
            accuracy=accuracy,
        )


def _layer(request: explanation_pb2.FindFeatureMapsRequest, record: ModelRecord, violations: Violations) -> int:
    """Return the layer that a request names, or the second-highest one of maps; notes one that is not there.

    Raises:
        FailedPrecondition: if the model has no maps.
    """
    with_maps = [number for number, shape in enumerate(record.layers, start=1) if shape.height * shape.width > 1]
    if not with_maps:
        text = f"models/{record.name} has no convolutions: its units draw no places of the image"
        raise FailedPrecondition(text, reason="NO_FEATURE_MAPS")
    layer = request.layer or with_maps[-2:][0]
    if check_layer("layer", layer, record, violations) and layer not in with_maps:
        violations.add("layer", f"must be one with maps, not {layer}, which is fully connected")
    return layer


def _check_boxes(request: explanation_pb2.FindFeatureMapsRequest, record: ModelRecord, violations: Violations) -> None:
    for index, box in enumerate(request.boxes):
        path = f"boxes[{index}]"
        violations.in_range(f"{path}.index", box.index, 0, len(request.latents) - 1)
        for first, size, pixels in (("left", "width", record.width), ("top", "height", record.height)):
            begin, length = getattr(box, first), getattr(box, size)
            violations.in_range(f"{path}.{first}", begin, 0, pixels - 1)
            if length < 1 or begin + length > pixels:
                violations.add(f"{path}.{size}", f"must be at least 1 and end within {pixels:,} pixels, not {length:,}")
