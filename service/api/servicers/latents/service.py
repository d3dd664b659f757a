"""LatentService: explores a latent space. One class per group of calls does the work; `LatentServicer` hands it on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from mintage.v1 import latents_pb2, latents_pb2_grpc

from service.api.servicers.latents.drawing import LatentDrawing
from service.api.servicers.latents.walking import LatentWalking
from service.models.directions.store import SavedDirections
from service.models.inference import Inference
from service.models.registry import Registry
from service.settings import Settings


class LatentServicer(latents_pb2_grpc.LatentServiceServicer):
    """Answers LatentService, in the order of the contract."""

    def __init__(self, settings: Settings, registry: Registry, inference: Inference) -> None:
        directions = SavedDirections(settings.archives)
        self._drawing = LatentDrawing(settings, registry, inference, directions)
        self._walking = LatentWalking(settings, registry, inference, directions)

    async def Draw(self, request: latents_pb2.DrawRequest, context: Any) -> Any:
        """Draw the images of latents."""
        return await self._drawing.draw(request, context)

    def Walk(self, request: latents_pb2.WalkRequest, context: Any) -> AsyncIterator[Any]:
        """Walk through latents."""
        return self._walking.walk(request, context)
