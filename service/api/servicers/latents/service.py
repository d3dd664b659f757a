"""LatentService: explores a latent space. One class per group of calls does the work; `LatentServicer` hands it on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from mintage.v1 import latents_pb2, latents_pb2_grpc

from service.api.servicers.latents.directions import LatentDirections
from service.api.servicers.latents.drawing import LatentDrawing
from service.api.servicers.latents.inverting import LatentInverting
from service.api.servicers.latents.walking import LatentWalking
from service.models.asking.inference import Inference
from service.models.directions.store import SavedDirections
from service.models.registry import Registry
from service.settings import Settings


class LatentServicer(latents_pb2_grpc.LatentServiceServicer):
    """Answers LatentService, in the order of the contract."""

    def __init__(self, settings: Settings, registry: Registry, inference: Inference) -> None:
        directions = SavedDirections(settings.archives)
        self._drawing = LatentDrawing(settings, registry, inference, directions)
        self._walking = LatentWalking(settings, registry, inference, directions)
        self._directions = LatentDirections(settings, registry, inference, directions)
        self._inverting = LatentInverting(settings, registry, inference)

    async def Draw(self, request: latents_pb2.DrawRequest, context: Any) -> Any:
        """Draw the images of latents."""
        return await self._drawing.draw(request, context)

    def Walk(self, request: latents_pb2.WalkRequest, context: Any) -> AsyncIterator[Any]:
        """Walk through latents."""
        return self._walking.walk(request, context)

    async def ListDirections(
        self, request: latents_pb2.ListDirectionsRequest, context: Any
    ) -> latents_pb2.ListDirectionsResponse:
        """List saved directions."""
        return await self._directions.list_saved(request)

    async def SaveDirection(
        self, request: latents_pb2.SaveDirectionRequest, context: Any
    ) -> latents_pb2.SaveDirectionResponse:
        """Save a direction."""
        return await self._directions.save(request)

    async def DeleteDirection(
        self, request: latents_pb2.DeleteDirectionRequest, context: Any
    ) -> latents_pb2.DeleteDirectionResponse:
        """Delete a saved direction."""
        return await self._directions.delete(request)

    async def FindDirections(
        self, request: latents_pb2.FindDirectionsRequest, context: Any
    ) -> latents_pb2.FindDirectionsResponse:
        """Find directions."""
        return await self._directions.find(request, context)

    def Invert(self, request: latents_pb2.InvertRequest, context: Any) -> AsyncIterator[latents_pb2.InvertResponse]:
        """Search for the latent of an image."""
        return self._inverting.invert(request, context)
