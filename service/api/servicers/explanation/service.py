"""ExplanationService: what the units of a network respond to. One class per call does the work."""

from __future__ import annotations

from typing import Any

from mintage.v1 import explanation_pb2, explanation_pb2_grpc

from service.api.servicers.explanation.backprop import Backprop
from service.api.servicers.explanation.feature_maps import FeatureMapSearch
from service.api.servicers.explanation.patches import Patches
from service.models.asking.inference import Inference
from service.models.directions.store import SavedDirections
from service.models.registry import Registry
from service.settings import Settings


class ExplanationServicer(explanation_pb2_grpc.ExplanationServiceServicer):
    """Answers ExplanationService, in the order of the contract."""

    def __init__(self, settings: Settings, registry: Registry, inference: Inference) -> None:
        self._backprop = Backprop(settings, registry, inference)
        self._patches = Patches(settings, registry, inference)
        self._maps = FeatureMapSearch(settings, registry, inference, SavedDirections(settings.archives))

    async def GuidedBackprop(
        self, request: explanation_pb2.GuidedBackpropRequest, context: Any
    ) -> explanation_pb2.GuidedBackpropResponse:
        """Compute which pixels of images excite a unit."""
        return await self._backprop.explain(request, context)

    async def TopPatches(
        self, request: explanation_pb2.TopPatchesRequest, context: Any
    ) -> explanation_pb2.TopPatchesResponse:
        """Find the patches that excite feature maps most."""
        return await self._patches.top(request, context)

    async def FindFeatureMaps(
        self, request: explanation_pb2.FindFeatureMapsRequest, context: Any
    ) -> explanation_pb2.FindFeatureMapsResponse:
        """Find the feature maps that draw an object."""
        return await self._maps.find(request, context)
