"""TopPatches: the patches of images that excite feature maps most."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from mintage.v1 import explanation_pb2

from service.api.requests import uploads
from service.api.requests.clients import caller_of
from service.api.requests.feature_maps import check_layer, check_maps
from service.api.servicers.explanation.backprop import ready
from service.backend.protocol.description import Kind
from service.backend.protocol.explanation_messages import Peaks
from service.errors import FailedPrecondition
from service.models.asking.explanation import Explanation
from service.models.asking.inference import Inference
from service.models.records import ModelRecord
from service.models.registry import Registry
from service.settings import Settings
from service.validation import Violations

KINDS: tuple[Kind, ...] = ("discriminator", "classifier")
MAX_MAPS, MAPS = 64, 16  # that a request may name; that are shown if it names none
MAX_COUNT, COUNT = 64, 9  # patches for each map


class Patches:
    """Answers TopPatches."""

    def __init__(self, settings: Settings, registry: Registry, inference: Inference) -> None:
        self._settings = settings
        self._registry = registry
        self._explanation = Explanation(inference)

    async def top(self, request: explanation_pb2.TopPatchesRequest, context: Any) -> explanation_pb2.TopPatchesResponse:
        """Find the patches."""
        caller = caller_of(context, self._settings.max_deadline_s)
        violations = Violations()
        name = violations.model_name("model", request.model)
        uploads.check(request, self._settings.max_images, violations)
        violations.in_range("count", request.count, 0, MAX_COUNT)
        if len(request.maps) > MAX_MAPS:
            violations.add("maps", f"must hold at most {MAX_MAPS} maps, not {len(request.maps):,}")
        violations.check()
        record = ready(self._registry, name, KINDS)
        uploads.check_fits(request, record, violations)
        layer = _layer(request, record, violations)
        violations.check()
        peaks = await self._explanation.peaks(
            record,
            layer,
            functools.partial(uploads.pixels, request, record, self._settings.max_image_pixels),
            size_bytes=request.ByteSize(),
            caller=caller,
        )
        return explanation_pb2.TopPatchesResponse(
            model=f"models/{record.name}",
            model_digest=record.digest,
            maps=_patches(peaks, layer, list(request.maps) or varying(peaks), request.count or COUNT),
        )


def varying(peaks: Peaks) -> list[int]:
    """Return the maps whose largest activations vary most between images, in order of their numbers."""
    spread = peaks.values.var(axis=0, dtype=np.float64)
    return sorted(int(each) for each in np.argsort(-spread, kind="stable")[:MAPS])


def _patches(peaks: Peaks, layer: int, maps: Sequence[int], count: int) -> Iterator[explanation_pb2.MapPatches]:
    """Show the strongest patches of each map; each image has one for each map, so they are of different ones."""
    for number in maps:
        shown = explanation_pb2.MapPatches(feature_map=explanation_pb2.FeatureMap(layer=layer, map=number))
        for image in np.argsort(-peaks.values[:, number], kind="stable")[:count]:
            left, top, width, height = peaks.boxes[image, number].tolist()
            shown.patches.add(
                box=explanation_pb2.Box(index=int(image), left=left, top=top, width=width, height=height),
                activation=float(peaks.values[image, number]),
            )
        yield shown


def _layer(request: explanation_pb2.TopPatchesRequest, record: ModelRecord, violations: Violations) -> int:
    """Return the layer that a request names, or the last one of maps; notes a layer or maps that are not there.

    Raises:
        FailedPrecondition: if the model has no maps.
    """
    with_maps = [number for number, shape in enumerate(record.layers, start=1) if shape.height * shape.width > 1]
    if not with_maps:
        text = f"models/{record.name} has no convolutions: its units see the whole image"
        raise FailedPrecondition(text, reason="NO_FEATURE_MAPS")
    layer = request.layer or with_maps[-1]
    if check_layer("layer", layer, record, violations):
        if layer not in with_maps:
            violations.add("layer", f"must be one with maps, not {layer}, which is fully connected")
        check_maps("maps", request.maps, layer, record, violations)
    return layer
