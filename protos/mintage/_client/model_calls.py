"""Listing, loading, scaling, unloading and watching models; the server's health."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.wrappers_pb2 import Int32Value, StringValue

from mintage._client.calls import Call, Page, Pages, made, model_name, nothing
from mintage.errors import ApiError, InputError, from_code
from mintage.limits import LOADING_S, PUSH_PART_BYTES, PUSHING_S
from mintage.v1 import models_pb2

HEALTH_TIMEOUT_S = 5.0  # who asks for health wants to know now
SERVING = 1  # grpc.health.v1.HealthCheckResponse.SERVING

_MODELS = "/mintage.v1.ModelService/"
_HEALTH = "/grpc.health.v1.Health/Check"


def models() -> Pages[models_pb2.Model]:
    """List every model that should be loaded, ready or not, in order of the names.

    Raises:
        Unavailable, TimedOut: as every call.
    """

    def page(token: str) -> Call[Page[models_pb2.Model]]:
        request = models_pb2.ListModelsRequest(page_token=token)
        answer = models_pb2.ListModelsResponse
        return Call(_MODELS + "ListModels", request, answer, lambda a: Page(a.models, a.next_page_token))

    return Pages(page)


def model(name: str) -> Call[models_pb2.Model]:
    """Get one model.

    Raises:
        InvalidRequest: if this cannot be a model's name.
        NotFound: if no model of that name is loaded.
    """
    request = models_pb2.GetModelRequest(name=model_name(name))
    return Call(_MODELS + "GetModel", request, models_pb2.GetModelResponse, _model)


def load_model(name: str, archive: str, *, workers: int = 0, timeout_s: float = LOADING_S) -> Call[models_pb2.Model]:
    """Load an archive, and wait until the model has answered a real request.

    Args:
        name: To load it under; a model of that name is replaced once the new one answers.
        archive: File name of a `.mar` in the server's archive folder.
        workers: Worker processes, from 1 to 64; 0 chooses 1.
        timeout_s: Time limit in seconds.

    Raises:
        InputError: if a number does not fit its field.
        InvalidRequest: for a bad name or number.
        NotFound: if the archive folder has no such file.
        NotPossible: if the archive cannot be served, for example because it is damaged.
        Unavailable: if the model server does not answer.
        TimedOut: if the time limit passes; the server goes on loading, which `watch_model` shows.
    """
    request = made(models_pb2.LoadModelRequest, name=model_name(name), archive=archive, workers=workers)
    return Call(_MODELS + "LoadModel", request, models_pb2.LoadModelResponse, _model, timeout_s=timeout_s)


def begin_load(name: str, archive: str, *, workers: int = 0) -> Call[models_pb2.Model]:
    """Begin to load an archive, and return at once with the model as it is; `watch_model` tells how it goes on.

    Args:
        name: As for `load_model`.
        archive: As for `load_model`.
        workers: As for `load_model`.

    Raises:
        InputError: if a number does not fit its field.
        InvalidRequest: for a bad name or number.
        NotFound: if the archive folder has no such file.
    """
    request = made(
        models_pb2.LoadModelRequest, name=model_name(name), archive=archive, workers=workers, return_immediately=True
    )
    return Call(_MODELS + "LoadModel", request, models_pb2.LoadModelResponse, _model)


def unload_model(name: str) -> Call[None]:
    """Unload a model. Not repeated by the client, since the second time says NOT_FOUND.

    Raises:
        InvalidRequest: if this cannot be a model's name.
        NotFound: if no model of that name is loaded.
        Unavailable: if the server does not answer; the model may be unloaded all the same.
    """
    request = models_pb2.UnloadModelRequest(name=model_name(name))
    return Call(_MODELS + "UnloadModel", request, models_pb2.UnloadModelResponse, nothing, repeatable=False)


def scale_model(name: str, workers: int, *, timeout_s: float = LOADING_S) -> Call[models_pb2.Model]:
    """Set a model's number of worker processes, from 1 to 64, and wait until they are ready.

    Raises:
        InputError: if the number does not fit its field.
        InvalidRequest: for a bad name or number.
        NotFound: if no model of that name is loaded.
        NotPossible: if the new workers cannot start.
        Unavailable: if the model server does not answer.
        TimedOut: if the time limit, in seconds, passes.
    """
    request = made(models_pb2.ScaleModelRequest, name=model_name(name), workers=workers)
    return Call(_MODELS + "ScaleModel", request, models_pb2.ScaleModelResponse, _model, timeout_s=timeout_s)


def begin_scale(name: str, workers: int) -> Call[models_pb2.Model]:
    """As `scale_model`, but return at once; `watch_model` tells how it goes on.

    Raises:
        InputError: if the number does not fit its field.
        InvalidRequest: for a bad name or number.
        NotFound: if no model of that name is loaded.
    """
    request = made(models_pb2.ScaleModelRequest, name=model_name(name), workers=workers, return_immediately=True)
    return Call(_MODELS + "ScaleModel", request, models_pb2.ScaleModelResponse, _model)


class ModelWatch:
    """A watch of one model, which can be begun again after any answer.

    Attributes:
        ended: Whether no change of the model was under way any more.
    """

    def __init__(self, name: str) -> None:
        self.ended = False
        self._request = models_pb2.WatchModelRequest(name=model_name(name))

    def call(self) -> Call[models_pb2.Model]:
        """The stream of the model."""
        return Call(_MODELS + "WatchModel", self._request, models_pb2.WatchModelResponse, self._read)

    def _read(self, answer: models_pb2.WatchModelResponse) -> models_pb2.Model:
        model = answer.model
        under_way = model.HasField("change") and not model.change.HasField("end_time")
        self.ended = not under_way and model.state != models_pb2.Model.STATE_LOADING
        return model


def watch_model(name: str) -> ModelWatch:
    """Yield a model now and whenever it differs, until no change of it is under way and it is ready or failed.

    Whoever began the change, and whether or not they still wait, anybody may watch. The watch survives restarts of the
    server and has no time limit. How the last change ended is in the model's `change`; `mintage.client.change_error`
    makes an error of one that failed.

    Raises:
        InvalidRequest: if this cannot be a model's name.
        NotFound: if no model of that name is loaded or being loaded.
        Unavailable: if the server stays away longer than the retries last.
    """
    return ModelWatch(name)


def change_error(change: models_pb2.ModelChange) -> ApiError | None:
    """Return the error with which a change of a model failed, as `load_model` raises it; None if it did not fail."""
    if change.stage != models_pb2.ModelChange.STAGE_FAILED:
        return None
    return from_code(change.error_code, change.error_message, reason=change.error_reason)


def archives() -> Pages[models_pb2.Archive]:
    """List the archives in the server's archive folder, in order of their names: what can be loaded.

    Raises:
        Unavailable, TimedOut: as every call.
    """

    def page(token: str) -> Call[Page[models_pb2.Archive]]:
        request = models_pb2.ListArchivesRequest(page_token=token)
        answer = models_pb2.ListArchivesResponse
        return Call(_MODELS + "ListArchives", request, answer, lambda a: Page(a.archives, a.next_page_token))

    return Pages(page)


def push_archive(
    file: Path | str, *, name: str = "", replace: bool = False, timeout_s: float = PUSHING_S
) -> Call[models_pb2.Archive]:
    """Put an archive into the server's archive folder, where `load_model` finds it.

    Args:
        file: The archive, as `mintage pack` writes it. It is read twice: for its digest, then to send it.
        name: File name there, `*.mar`; the file's own if empty.
        replace: Whether another archive of that name may be replaced.
        timeout_s: Time limit in seconds.

    Raises:
        OSError: if the file cannot be read.
        InputError: if it is empty, or no regular file.
        InvalidRequest: for a bad name.
        AlreadyExists: if another archive has that name.
        NotPossible: if the archive cannot be served, or holds other code than ours.
        TooLarge: if it is larger than the server takes.
        TimedOut: if the time limit passes.
    """
    path = Path(file)
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise InputError(f"{path} is no regular file: it is read twice, for its digest and to be sent")
    if path.is_file() and path.stat().st_size == 0:
        raise InputError(f"{path} is empty")
    with path.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    announced = models_pb2.PushArchiveRequest.Announcement(
        name=name or path.name, digest=digest, size_bytes=path.stat().st_size, replace=replace
    )

    def parts() -> Iterator[models_pb2.PushArchiveRequest]:
        yield models_pb2.PushArchiveRequest(announcement=announced)
        with path.open("rb") as opened:
            while data := opened.read(PUSH_PART_BYTES):
                yield models_pb2.PushArchiveRequest(data=data)

    def read(answer: models_pb2.PushArchiveResponse) -> models_pb2.Archive:
        return answer.archive

    answer = models_pb2.PushArchiveResponse
    return Call(_MODELS + "PushArchive", parts, answer, read, timeout_s=timeout_s)


def health(service: str = "", *, timeout_s: float = HEALTH_TIMEOUT_S) -> Call[bool]:
    """Say whether the server, a service such as `mintage.v1.JobService`, or `models/{model}` works now.

    Not repeated by the client: the first answer is the answer.

    Raises:
        NotFound: if the server has no such service or model.
        Unavailable: if nothing answers.
        TimedOut: if the time limit, in seconds, passes.
    """
    # The two messages of grpc.health.v1 have one field each and are on the wire the same as these well-known types, so
    # the client needs no further package.
    request = StringValue(value=service)
    return Call(_HEALTH, request, Int32Value, lambda a: bool(a.value == SERVING), repeatable=False, timeout_s=timeout_s)


def _model(answer: Any) -> models_pb2.Model:
    model: models_pb2.Model = answer.model
    return model
