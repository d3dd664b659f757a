"""A model server of this process, a Redis that only answers pings, and an API over both on a free port."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import grpc
import numpy as np
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from safetensors.numpy import save

from service.api.server import Api, running
from service.backend.description import ModelDescription
from service.backend.neurons import Concept, UnitShape
from service.errors import AlreadyExists, DeadlineExceeded, FailedPrecondition, NotFound, Unavailable
from service.models.registry import ModelRecord, Registry
from service.settings import Settings

T = TypeVar("T")

GENERATOR = ModelDescription("generator", 8, 6, 1, (), 16, 4, "cpu", "2.13.0", "improved-gan")
CLASSIFIER = ModelDescription("classifier", 8, 6, 1, ("nought", "one", "two"), 0, 4, "cpu", "2.13.0", "improved-gan")
AUTOENCODER = ModelDescription(
    *("neurons", 8, 6, 1, (), 0, 4, "cpu", "2.13.0", "face-neuron"),
    stages=(UnitShape(2, 3, 4), UnitShape(5, 1, 2)),
    concepts=(
        Concept("dark", 1, 3, -1, -100.0, 0.1, 0.0, 0.8, 0.7, 0.9, 0.85, 40, 60),
        Concept("light", 2, 9, 1, 100.0, 0.1, 0.0, 0.75, 0.65, 0.85, 0.8, 30, 70),
    ),
)
DESCRIPTIONS = {"classifier": CLASSIFIER, "neurons": AUTOENCODER, "blank": replace(AUTOENCODER, concepts=())}


@dataclass
class FakeModelServer:
    """Holds models by name; an archive's text begins with what it is: `generator`, one of DESCRIPTIONS, or `broken`."""

    archives: Path
    models: dict[str, ModelDescription] = field(default_factory=dict)
    workers: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    proofs: asyncio.Event = field(default_factory=asyncio.Event)
    dead: bool = False
    failure: Exception | None = None
    image_size: tuple[int, int, int] | None = None

    def __post_init__(self) -> None:
        self.answers.set()
        self.proofs.set()

    async def predict(self, backend_name: str, inputs: Mapping[str, bytes], *, timeout_s: float) -> bytes:
        """Answer when `answers` is set, unless told to fail."""
        request = json.loads(inputs["request"])
        self.requests.append((backend_name, request))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            async with asyncio.timeout(timeout_s):
                await self.answers.wait()
        except TimeoutError:
            raise DeadlineExceeded("fake") from None
        finally:
            self.running -= 1
        self._check_alive()
        if self.failure is not None:
            raise self.failure
        if backend_name not in self.models:
            raise Unavailable("not loaded now")
        return _answer(self.models[backend_name], request, inputs)

    async def register(
        self,
        archive_file_name: str,
        backend_name: str,
        workers: int,
        *,
        startup_timeout_s: float,
        response_timeout_s: float,
    ) -> None:
        """Load what the archive's text says."""
        self._check_alive()
        if backend_name in self.models:
            raise AlreadyExists("taken")
        text = (self.archives / archive_file_name).read_text()
        if text.startswith("broken"):
            raise FailedPrecondition("its weights are damaged", reason="MODEL_REFUSED")
        self.models[backend_name] = self.described(text)
        self.workers[backend_name] = workers

    async def unregister(self, backend_name: str) -> None:
        """Unload."""
        self._check_alive()
        if self.models.pop(backend_name, None) is None:
            raise NotFound("not loaded")

    async def scale(self, backend_name: str, workers: int, *, timeout_s: float = 120.0) -> None:
        """Note the number."""
        self._check_alive()
        if backend_name not in self.models:
            raise NotFound("not loaded")
        self.workers[backend_name] = workers

    async def list_models(self) -> list[str]:
        """List."""
        self._check_alive()
        return sorted(self.models)

    async def wait_until_ready(self, backend_name: str, timeout_s: float) -> ModelDescription:
        """Describe, when `proofs` is set."""
        await self.proofs.wait()
        self._check_alive()
        if self.failure is not None:
            raise self.failure
        return self.models[backend_name]

    def described(self, text: str) -> ModelDescription:
        """What a model is whose archive holds this text."""
        model = DESCRIPTIONS.get(text.split(maxsplit=1)[0], GENERATOR)
        height, width, channels = self.image_size or (model.height, model.width, model.channels)
        return replace(model, height=height, width=width, channels=channels)

    def restart(self) -> None:
        """Lose every model, as the real one does."""
        self.models.clear()
        self.dead = False

    def operations(self, name: str) -> list[dict[str, Any]]:
        """The requests of one operation, in order."""
        return [request for _, request in self.requests if request["op"] == name]

    def _check_alive(self) -> None:
        if self.dead:
            raise Unavailable("the model server does not answer")


@dataclass
class FakeRedis:
    """Answers pings."""

    dead: bool = False

    async def ping(self) -> bool:
        """Answer, or not."""
        if self.dead:
            raise RedisConnectionError("secret address")
        return True

    def register_script(self, _: str) -> Callable[..., Coroutine[Any, Any, str]]:
        """Know a script: the one that names the models which jobs need."""

        async def run(**_: Any) -> str:
            await self.ping()
            return '{"known": true, "backends": []}'

        return run


def pixels(seed: int, index: int, description: ModelDescription = GENERATOR) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """The image that the fake makes of a sample: other for each (seed, index)."""
    size = description.height * description.width * description.channels
    digest = hashlib.shake_128(f"{seed} {index}".encode()).digest(size)
    return np.frombuffer(digest, np.uint8).reshape(description.height, description.width, description.channels)


def _answer(model: ModelDescription, request: dict[str, Any], inputs: Mapping[str, bytes]) -> bytes:
    header = {"status": "ok", "device_class": model.device_class, "torch_version": model.torch_version}
    tensors: dict[str, Any] = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8)}
    if request["op"] == "generate":
        indices = range(request["first_index"], request["first_index"] + request["count"])
        tensors["images"] = np.stack([pixels(request["seed"], index, model) for index in indices])
    if request["op"] == "classify":
        images = np.frombuffer(inputs["pixels"], np.uint8).reshape(request["shape"])
        levels = images.reshape(len(images), -1).mean(axis=1)
        best = np.minimum(levels // 86, 2).astype(int)
        tensors["probabilities"] = np.eye(3, dtype=np.float32)[best]
        tensors["generated"] = (levels / 255).astype(np.float32)
    if model.kind == "neurons" and "shape" in request:
        tensors |= _seen(model, request, np.frombuffer(inputs["pixels"], np.uint8).reshape(request["shape"]))
    if request["op"] == "stimulate":
        tensors["image"] = pixels(request["seed"], request["unit"], model)
        tensors["activation"] = np.array([request["sign"] * request["steps"]], np.float32)
    return save(tensors)


def _seen(model: ModelDescription, request: dict[str, Any], images: Any) -> dict[str, Any]:
    """Every unit of the fake is activated by the mean level of the image, and by its own number."""
    levels = images.reshape(len(images), -1).mean(axis=1).astype(np.float32)
    if request["op"] == "reconstruct":
        return {"images": 255 - images}
    if request["op"] == "activate":
        units = request["units"] or range(model.stages[request["stage"] - 1].units)
        return {"activations": levels[:, None] + np.array(units, np.float32)}
    count = len(request["concepts"])
    return {
        "activations": np.repeat(levels[:, None], count, axis=1),
        "detected": np.repeat(levels[:, None] > 100, count, axis=1),
        "confidences": np.repeat(levels[:, None] / 255, count, axis=1),
    }


def record_of(description: ModelDescription, name: str, *, digest: str = "a" * 64) -> ModelRecord:
    """A record of a model that was loaded from `{name}.mar`."""
    return ModelRecord(
        name=name,
        digest=digest,
        archive=f"{name}.mar",
        workers=1,
        kind=description.kind,
        height=description.height,
        width=description.width,
        channels=description.channels,
        classes=description.classes,
        latent_size=description.latent_size,
        micro_batch=description.micro_batch,
        device_class=description.device_class,
        torch_version=description.torch_version,
        recipe=description.recipe,
        load_time=0.0,
        stages=description.stages,
        concepts=description.concepts,
    )


def put(archives: Path, name: str, text: str) -> ModelRecord:
    """Write an archive and its record, as if it had been loaded before."""
    archives.mkdir(parents=True, exist_ok=True)
    (archives / f"{name}.mar").write_text(text)
    description = DESCRIPTIONS.get(text.split(maxsplit=1)[0], GENERATOR)
    record = record_of(description, name, digest=hashlib.sha256(text.encode()).hexdigest())
    Registry(archives).write(record)
    return record


@dataclass(frozen=True)
class World:
    """An API and what is behind it."""

    api: Api
    models: FakeModelServer
    redis: FakeRedis
    settings: Settings

    @property
    def address(self) -> str:
        """host:port of the API."""
        return self.api.address


@contextlib.asynccontextmanager
async def world(
    folder: Path, *, prepare: Callable[[FakeModelServer], None] = lambda _: None, **settings: Any
) -> AsyncIterator[World]:
    """An API on a free port with the models `digits` (a generator) and `judge` (a classifier), both ready."""
    chosen = Settings(state_dir=folder, api_address="127.0.0.1:0", **settings)
    models, redis = FakeModelServer(chosen.archives), FakeRedis()
    put(chosen.archives, "digits", "generator")
    put(chosen.archives, "judge", "classifier")
    prepare(models)
    async with running(chosen, models=models, redis=cast(Redis, redis)) as api:
        await until(lambda: all(entry.condition.state == "ready" for entry in api.registry.entries()))
        models.requests.clear()
        yield World(api, models, redis, chosen)


async def until(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run one asynchronous test with a limit."""

    async def limited() -> T:
        async with asyncio.timeout(120):
            return await test

    return asyncio.run(limited())


@dataclass(frozen=True)
class Failure:
    """How a call failed: its status, text, details by type, and trailing metadata."""

    code: grpc.StatusCode
    message: str
    details: Mapping[str, Message]
    trailers: Mapping[str, Any]

    @property
    def reason(self) -> str:
        """Reason of the ErrorInfo, which every failure has."""
        info = self.details["ErrorInfo"]
        assert isinstance(info, error_details_pb2.ErrorInfo)
        assert info.domain == "mintage"
        return str(info.reason)

    @property
    def fields(self) -> list[str]:
        """Every wrong field."""
        bad = self.details["BadRequest"]
        assert isinstance(bad, error_details_pb2.BadRequest)
        return [violation.field for violation in bad.field_violations]

    @property
    def retry_after_s(self) -> float:
        """When to try again."""
        retry = self.details["RetryInfo"]
        assert isinstance(retry, error_details_pb2.RetryInfo)
        return float(retry.retry_delay.ToTimedelta().total_seconds())


async def failure_of(call: Any) -> Failure:
    """Await a call of a stub that must fail."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        status = rpc_status.from_call(_Sync(error))
        details = {}
        for kind in (error_details_pb2.ErrorInfo, error_details_pb2.BadRequest, error_details_pb2.RetryInfo):
            for packed in status.details if status is not None else ():
                message = kind()
                if packed.Unpack(message):
                    details[kind.__name__] = message
        return Failure(error.code(), error.details() or "", details, dict(error.trailing_metadata()))
    raise AssertionError(f"did not fail: {answer!r:.200}")


class _Sync:
    """An asynchronous error as `grpc_status` wants it."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        self.code = error.code
        self.details = error.details
        self.trailing_metadata = error.trailing_metadata
