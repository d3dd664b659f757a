"""ModelService: lists, loads, unloads, scales and watches models."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from typing import Any

from mintage.v1 import models_pb2, models_pb2_grpc

from service.api.requests import encodings
from service.api.requests.pagination import first_page, page_size, page_start
from service.backend.protocol.neurons import UnitShape
from service.errors import FieldViolation, InvalidArgument, NotFound, TooLarge
from service.models.archives import pushed
from service.models.changes import STAGES, Change
from service.models.loader import Loader
from service.models.registry import Entry, Registry
from service.validation import ARCHIVE, ARCHIVE_RULE, MODEL_NAME, Violations

ARCHIVE_NAME = re.compile(rf"archives/({ARCHIVE.pattern})", re.ASCII)
DIGEST = re.compile(r"[0-9a-f]{64}", re.ASCII)
POLL_S = 0.15  # as often as WatchJob asks the ledger
MAX_WORKERS = 64  # each holds the model once more in memory

_KINDS = {
    "generator": models_pb2.Model.KIND_GENERATOR,
    "classifier": models_pb2.Model.KIND_CLASSIFIER,
    "neurons": models_pb2.Model.KIND_NEURONS,
    "discriminator": models_pb2.Model.KIND_DISCRIMINATOR,
}
_STATES = {
    "loading": models_pb2.Model.STATE_LOADING,
    "ready": models_pb2.Model.STATE_READY,
    "failed": models_pb2.Model.STATE_FAILED,
}

_STAGES = {stage: models_pb2.ModelChange.Stage.Value(f"STAGE_{stage.upper()}") for stage in STAGES}


class ModelServicer(models_pb2_grpc.ModelServiceServicer):
    """Answers ModelService."""

    def __init__(self, registry: Registry, loader: Loader, *, max_archive_bytes: int) -> None:
        self._max_archive_bytes = max_archive_bytes
        self._registry = registry
        self._loader = loader

    async def ListModels(self, request: models_pb2.ListModelsRequest, context: Any) -> models_pb2.ListModelsResponse:
        """List the models that should be loaded."""
        violations = Violations()
        size = page_size(request.page_size, violations)
        after = page_start(request.page_token, MODEL_NAME, violations)
        violations.check()
        names = {*self._registry.names(), *(change.model for change in self._loader.changes.under_way())}
        page, token = first_page(sorted(name for name in names if name > after), size, lambda name: f"models/{name}")
        found = (self._model(name) for name in page)
        return models_pb2.ListModelsResponse(models=[model for model in found if model], next_page_token=token)

    async def GetModel(self, request: models_pb2.GetModelRequest, context: Any) -> models_pb2.GetModelResponse:
        """Get one model."""
        return models_pb2.GetModelResponse(model=self._loaded(_checked_name(request.name)))

    async def LoadModel(self, request: models_pb2.LoadModelRequest, context: Any) -> models_pb2.LoadModelResponse:
        """Load an archive."""
        violations = Violations()
        name = violations.model_name("name", request.name)
        violations.matches("archive", request.archive, ARCHIVE, ARCHIVE_RULE)
        violations.in_range("workers", request.workers, 0, MAX_WORKERS)
        violations.check()
        loading = self._loader.begin_load(name, request.archive, request.workers or 1)
        if not request.return_immediately:
            await asyncio.shield(loading)
        return models_pb2.LoadModelResponse(model=self._loaded(name))

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
        scaling = self._loader.begin_scale(name, request.workers)
        if not request.return_immediately:
            await asyncio.shield(scaling)
        return models_pb2.ScaleModelResponse(model=self._loaded(name))

    async def WatchModel(
        self, request: models_pb2.WatchModelRequest, context: Any
    ) -> AsyncIterator[models_pb2.WatchModelResponse]:
        """Stream a model until no change of it is under way and it is ready or failed."""
        name, last = _checked_name(request.name), None
        while True:
            model = self._model(name)
            if model is None:
                raise _not_found(name)
            if model != last:
                yield models_pb2.WatchModelResponse(model=model)
                last = model
            if has_settled(model):
                return
            await asyncio.sleep(POLL_S)

    async def ListArchives(
        self, request: models_pb2.ListArchivesRequest, context: Any
    ) -> models_pb2.ListArchivesResponse:
        """List the archives that can be loaded."""
        violations = Violations()
        size = page_size(request.page_size, violations)
        after = page_start(request.page_token, ARCHIVE_NAME, violations)
        violations.check()
        folder = self._registry.archives
        found = await asyncio.to_thread(pushed.names, folder)
        page, token = first_page([name for name in found if name > after], size, lambda name: f"archives/{name}")
        described = []
        for name in page:
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                described.append(_archive_message(await asyncio.to_thread(pushed.described, folder / name)))
        return models_pb2.ListArchivesResponse(archives=described, next_page_token=token)

    async def PushArchive(
        self, requests: AsyncIterator[models_pb2.PushArchiveRequest], context: Any
    ) -> models_pb2.PushArchiveResponse:
        """Receive an archive."""
        first = await anext(aiter(requests), models_pb2.PushArchiveRequest())
        announced = self._announced(first)
        upload = await asyncio.to_thread(
            pushed.Upload,
            self._registry.archives,
            announced.name,
            digest=announced.digest,
            size_bytes=announced.size_bytes,
            replace=announced.replace,
        )
        with upload:
            async for request in requests:
                if request.WhichOneof("part") != "data":
                    raise InvalidArgument([FieldViolation("announcement", "comes once, in the first message")])
                await asyncio.to_thread(upload.write, request.data)
            received = await asyncio.to_thread(upload.finish)
        return models_pb2.PushArchiveResponse(archive=_archive_message(received))

    def _announced(self, request: models_pb2.PushArchiveRequest) -> models_pb2.PushArchiveRequest.Announcement:
        """What is pushed.

        Raises:
            InvalidArgument: if it cannot be.
            TooLarge: if it is larger than this server takes.
        """
        announced, violations = request.announcement, Violations()
        if request.WhichOneof("part") != "announcement":
            violations.add("announcement", "must be the first message")
        violations.matches("announcement.name", announced.name, ARCHIVE, ARCHIVE_RULE)
        if pushed.KEPT.fullmatch(announced.name):
            violations.add("announcement.name", "must not be a digest, which names the copies of loaded archives")
        if not DIGEST.fullmatch(announced.digest):
            violations.add("announcement.digest", "must be a sha256, 64 of 0-9 and a-f")
        if announced.size_bytes < 1:
            violations.add("announcement.size_bytes", "must be at least 1")
        violations.check()
        if announced.size_bytes > self._max_archive_bytes:
            most = f"{self._max_archive_bytes:,} bytes at most (MINTAGE_MAX_ARCHIVE_BYTES)"
            raise TooLarge(f"{announced.name} has {announced.size_bytes:,} bytes; this server takes {most}")
        return announced

    def _loaded(self, name: str) -> models_pb2.Model:
        """A model that is loaded, or is being loaded."""
        model = self._model(name)
        if model is None or (not model.digest and model.change.stage == models_pb2.ModelChange.STAGE_FAILED):
            raise _not_found(name)
        return model

    def _model(self, name: str) -> models_pb2.Model | None:
        """A model, also if its first load is under way or has failed."""
        entry, change = self._registry.entry(name), self._loader.changes.last(name)
        if entry is None and (change is None or change.stage == "succeeded"):  # then it was unloaded since
            return None
        model = _message(entry) if entry is not None else models_pb2.Model(name=f"models/{name}")
        if change is not None:
            model.change.CopyFrom(_change_message(change))
        if entry is None and change is not None:
            model.state = models_pb2.Model.STATE_LOADING if change.under_way else models_pb2.Model.STATE_FAILED
            model.message = change.error_message
        return model


def has_settled(model: models_pb2.Model) -> bool:
    """Whether no change of a model is under way and it is ready or failed."""
    under_way = model.HasField("change") and not model.change.HasField("end_time")
    return not under_way and model.state != models_pb2.Model.STATE_LOADING


def _archive_message(archive: pushed.ArchiveFile) -> models_pb2.Archive:
    message = models_pb2.Archive(name=archive.name, digest=archive.digest, size_bytes=archive.size_bytes)
    message.update_time.FromMilliseconds(round(archive.update_time * 1000))
    return message


def _not_found(name: str) -> NotFound:
    return NotFound(f"no model models/{name} is loaded", reason="MODEL_NOT_FOUND")


def _checked_name(resource: str) -> str:
    violations = Violations()
    name = violations.model_name("name", resource)
    violations.check()
    return name


def _change_message(change: Change) -> models_pb2.ModelChange:
    message = models_pb2.ModelChange(
        stage=_STAGES[change.stage],
        archive=change.archive,
        workers=change.workers,
        sizes_tried=change.sizes_tried,
        sizes_total=change.sizes_total,
        error_code=change.error_code,
        error_reason=change.error_reason,
        error_message=change.error_message,
    )
    message.start_time.FromMilliseconds(round(change.start_time * 1000))
    if not change.under_way:
        message.end_time.FromMilliseconds(round(change.end_time * 1000))
    return message


def _shape(shape: UnitShape) -> models_pb2.UnitShape:
    return models_pb2.UnitShape(maps=shape.maps, height=shape.height, width=shape.width)


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
            stages=map(_shape, record.stages),
            concepts=(concept.name for concept in record.concepts),
            batch_sizes=record.batch_sizes,
            run_digest=record.run_digest,
            layers=map(_shape, record.layers),
        )
    )
    model.load_time.FromMilliseconds(round(record.load_time * 1000))
    return model
