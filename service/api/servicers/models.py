"""ModelService: lists, loads, unloads and scales models."""

from __future__ import annotations

from typing import Any

from mintage.v1 import models_pb2, models_pb2_grpc

from service.api.requests import encodings
from service.api.requests.pagination import first_page, page_size, page_start
from service.errors import NotFound
from service.models.loader import Loader
from service.models.registry import Entry, Registry
from service.validation import ARCHIVE, MODEL_NAME, Violations

MAX_WORKERS = 64  # each holds the model once more in memory

_KINDS = {
    "generator": models_pb2.Model.KIND_GENERATOR,
    "classifier": models_pb2.Model.KIND_CLASSIFIER,
    "neurons": models_pb2.Model.KIND_NEURONS,
}
_STATES = {
    "loading": models_pb2.Model.STATE_LOADING,
    "ready": models_pb2.Model.STATE_READY,
    "failed": models_pb2.Model.STATE_FAILED,
}


class ModelServicer(models_pb2_grpc.ModelServiceServicer):
    """Answers ModelService."""

    def __init__(self, registry: Registry, loader: Loader) -> None:
        self._registry = registry
        self._loader = loader

    async def ListModels(self, request: models_pb2.ListModelsRequest, context: Any) -> models_pb2.ListModelsResponse:
        """List the models that should be loaded."""
        violations = Violations()
        size = page_size(request.page_size, violations)
        after = page_start(request.page_token, MODEL_NAME, violations)
        violations.check()
        entries = [entry for entry in self._registry.entries() if entry.name > after]
        page, token = first_page(entries, size, lambda entry: f"models/{entry.name}")
        return models_pb2.ListModelsResponse(models=map(_message, page), next_page_token=token)

    async def GetModel(self, request: models_pb2.GetModelRequest, context: Any) -> models_pb2.GetModelResponse:
        """Get one model."""
        return models_pb2.GetModelResponse(model=self._model(_checked_name(request.name)))

    async def LoadModel(self, request: models_pb2.LoadModelRequest, context: Any) -> models_pb2.LoadModelResponse:
        """Load an archive."""
        violations = Violations()
        name = violations.model_name("name", request.name)
        violations.matches("archive", request.archive, ARCHIVE, "the name of a .mar file without any folder")
        violations.in_range("workers", request.workers, 0, MAX_WORKERS)
        violations.check()
        await self._loader.load(name, request.archive, request.workers or 1)
        return models_pb2.LoadModelResponse(model=self._model(name))

    async def UnloadModel(self, request: models_pb2.UnloadModelRequest, context: Any) -> models_pb2.UnloadModelResponse:
        """Unload a model."""
        await self._loader.unload(_checked_name(request.name))
        return models_pb2.UnloadModelResponse()

    async def ScaleModel(self, request: models_pb2.ScaleModelRequest, context: Any) -> models_pb2.ScaleModelResponse:
        """Set the number of worker processes of a model."""
        violations = Violations()
        name = violations.model_name("name", request.name)
        violations.in_range("workers", request.workers, 1, MAX_WORKERS)
        violations.check()
        await self._loader.scale(name, request.workers)
        return models_pb2.ScaleModelResponse(model=self._model(name))

    def _model(self, name: str) -> models_pb2.Model:
        entry = self._registry.entry(name)
        if entry is None:
            raise NotFound(f"no model models/{name} is loaded", reason="MODEL_NOT_FOUND")
        return _message(entry)


def _checked_name(resource: str) -> str:
    violations = Violations()
    name = violations.model_name("name", resource)
    violations.check()
    return name


def _message(entry: Entry) -> models_pb2.Model:
    model = models_pb2.Model(
        name=f"models/{entry.name}", state=_STATES[entry.condition.state], message=entry.condition.message
    )
    record = entry.record
    if record is None:
        return model
    model.MergeFrom(
        models_pb2.Model(
            digest=record.digest,
            archive=record.archive,
            kind=_KINDS[record.kind],
            shape=encodings.shape_of(record),
            classes=record.classes,
            latent_size=record.latent_size,
            micro_batch=record.micro_batch,
            workers=record.workers,
            device_class=record.device_class,
            torch_version=record.torch_version,
            numerics=record.numerics,
            precision=record.precision,
            recipe=record.recipe,
            stages=(models_pb2.UnitShape(maps=s.maps, height=s.height, width=s.width) for s in record.stages),
            concepts=(concept.name for concept in record.concepts),
            batch_sizes=record.batch_sizes,
        )
    )
    model.load_time.FromMilliseconds(round(record.load_time * 1000))
    return model
