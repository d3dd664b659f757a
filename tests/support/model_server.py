"""The two fakes of the model server: one in this process, and one that speaks TorchServe's wire to real processes."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import grpc
from mintage.torchserve import inference_pb2, inference_pb2_grpc, management_pb2, management_pb2_grpc

from service.backend.liveness import WorkerHealth
from service.backend.model_server import silence
from service.backend.protocol.description import ModelDescription
from service.backend.workers import Priority, socket_name
from service.errors import AlreadyExists, DeadlineExceeded, FailedPrecondition, Internal, NotFound, Unavailable
from service.models.records import backend_name as name_of
from tests.support import formula
from tests.support.archives import digest_of, text_of
from tests.support.formula import JOB_MODELS, SHAPE, answer, blob
from tests.support.sockets import Answer, SocketServer


@dataclass
class FakeModelServer:
    """Holds models by name; an archive's text begins with what it is: one of `formula.DESCRIPTIONS`, or `broken`.

    A request is noted; then `before` is awaited, then `answers`; then the first of `failures` is raised, or `failure`,
    which stays. One that `hangs` can be asked, but not managed. Images whose indices are in `other` differ from the
    formula's.
    """

    archives: Path = Path("/nowhere")
    models: dict[str, ModelDescription] = field(default_factory=dict)
    workers: dict[str, int] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    callers: list[tuple[str, Priority]] = field(default_factory=list)  # of the requests
    drained: list[str] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    registering: int = 0
    before: Callable[[], Awaitable[object]] | None = None
    answers: asyncio.Event = field(default_factory=asyncio.Event)
    proofs: asyncio.Event = field(default_factory=asyncio.Event)
    registers: asyncio.Event = field(default_factory=asyncio.Event)
    dead: bool = False
    hangs: bool = False
    starting: bool = False
    proof: tuple[int, int] | None = None
    health: WorkerHealth = WorkerHealth(1)  # noqa: RUF009 - frozen
    failures: list[Exception] = field(default_factory=list)
    failure: Exception | None = None
    image_size: tuple[int, int, int] | None = None
    other: range = range(0)

    def __post_init__(self) -> None:
        self.answers.set()
        self.proofs.set()
        self.registers.set()

    async def predict(
        self,
        backend_name: str,
        inputs: Mapping[str, bytes],
        *,
        timeout_s: float,
        client: str = "",
        priority: Priority = "interactive",
    ) -> bytes:
        """Answer when `answers` is set, unless told to fail."""
        request = json.loads(inputs["request"])
        self.requests.append((backend_name, request))
        self.callers.append((client, priority))
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            async with asyncio.timeout(timeout_s):
                if self.before is not None:
                    await self.before()
                await self.answers.wait()
        except TimeoutError:
            raise DeadlineExceeded("fake") from None
        finally:
            self.running -= 1
        self._check_alive()
        if self.failures:
            raise self.failures.pop(0)
        if self.failure is not None:
            raise self.failure
        if backend_name not in self.models:
            raise Unavailable("not loaded now")
        return answer(self.models[backend_name], request, inputs, other=self.other)

    async def register(
        self,
        archive_file_name: str,
        backend_name: str,
        workers: int,
        *,
        startup_timeout_s: float,
        response_timeout_s: float,
    ) -> None:
        """Load what the archive's text says, when `registers` is set."""
        self.registering += 1
        try:
            await self.registers.wait()
        finally:
            self.registering -= 1
        self._check_manages()
        if backend_name in self.models:
            raise AlreadyExists("taken")
        text = text_of(self.archives / archive_file_name)
        if text.startswith("broken"):
            raise FailedPrecondition("its weights are damaged", reason="MODEL_REFUSED")
        if text.startswith("failing"):  # when it is asked what it is
            raise Internal(f"model {backend_name} failed", reason="MODEL_FAILED")
        self.models[backend_name] = self.described(text)
        self.workers[backend_name] = workers

    async def unregister(self, backend_name: str) -> None:
        """Unload."""
        self._check_manages()
        if self.models.pop(backend_name, None) is None:
            raise NotFound("not loaded")

    async def drain(self, backend_name: str) -> None:
        """Note it."""
        self.drained.append(backend_name)

    def proof_progress(self, backend_name: str) -> tuple[int, int] | None:
        """Say what `proof` says."""
        return self.proof

    async def end_hung(self, backend_name: str) -> WorkerHealth:
        """Say what `health` says."""
        return self.health

    async def is_starting(self, backend_name: str) -> bool:
        """Say what `starting` says."""
        return self.starting

    async def scale(self, backend_name: str, workers: int, *, timeout_s: float = 120.0) -> None:
        """Note the number."""
        self._check_manages()
        if backend_name not in self.models:
            raise NotFound("not loaded")
        self.workers[backend_name] = workers

    async def list_models(self) -> list[str]:
        """List."""
        self._check_manages()
        return sorted(self.models)

    async def wait_until_ready(self, backend_name: str, timeout_s: float) -> ModelDescription:
        """Describe, when `proofs` is set."""
        await self.proofs.wait()
        self._check_manages()
        if self.failure is not None:
            raise self.failure
        return self.models[backend_name]

    def described(self, text: str) -> ModelDescription:
        """What a model is whose archive holds this text."""
        model = formula.described(text)
        height, width, channels = self.image_size or (model.height, model.width, model.channels)
        return replace(model, height=height, width=width, channels=channels)

    def restart(self) -> None:
        """Lose every model, as the real one does."""
        self.models.clear()
        self.dead = False

    def operations(self, name: str) -> list[dict[str, Any]]:
        """The requests of one operation, in order."""
        return [request for _, request in self.requests if request["op"] == name]

    @property
    def generated(self) -> list[range]:
        """The indices of the images that were asked for, request by request."""
        asked = self.operations("generate")
        return [range(each["first_index"], each["first_index"] + each["count"]) for each in asked]

    def _check_manages(self) -> None:
        self._check_alive()
        if self.hangs:
            raise silence()

    def _check_alive(self) -> None:
        if self.dead:
            raise silence()


Inference = inference_pb2_grpc.InferenceAPIsServiceServicer
Management = management_pb2_grpc.ManagementAPIsServiceServicer


class FakeTorchServe(Inference, Management):
    """Holds `formula.JOB_MODELS`, a socket each, and notes requests; a cleared `pass_gate` holds answers back."""

    def __init__(self, sockets: Path, shape: tuple[int, int, int] = SHAPE) -> None:
        self.sockets = sockets
        self.shape = shape
        self.device = "cpu"
        self.requests: list[dict[str, Any]] = []
        self.failures: list[grpc.StatusCode] = []  # raised first
        self.poison = range(0)  # images that cannot be made
        self.takes_s = 0.0  # what every request takes
        self.pass_gate = threading.Event()
        self.pass_gate.set()
        self.open_for = 0  # requests that pass a closed gate
        self.address = ""
        self._lock = threading.Lock()

    def Predictions(self, request: Any, context: Any) -> Any:
        """Answer one request that came by TorchServe."""
        return inference_pb2.PredictionResponse(prediction=self.answer(request.model_name, request.input, context))

    def answer(self, backend_name: str, inputs: Mapping[str, bytes], context: Any) -> bytes:
        """Answer one request."""
        asked, model = json.loads(inputs["request"]), self._model(backend_name)
        if asked["op"] in ("describe", "canary"):
            facts = dataclasses.asdict(model)
            for name in ("stages", "layers"):
                facts[name] = [dataclasses.astuple(shape) for shape in getattr(model, name)]
            return blob(model, facts)
        with self._lock:
            self.requests.append(asked)
            failure = self.failures.pop(0) if self.failures else None
            passes = self.open_for > 0
            self.open_for -= passes
        time.sleep(self.takes_s)
        if failure is not None:
            context.abort(failure, "as the test wants it")
        if asked.get("first_index", -1) in self.poison:
            context.abort(grpc.StatusCode.INTERNAL, "poisoned, as the test wants it")
        if not passes:
            while not self.pass_gate.wait(0.05) and context.is_active():
                pass
        return answer(model, asked, inputs)

    def RegisterModel(self, request: Any, context: Any) -> Any:
        """Say that a model is loaded; all of them always are."""
        return management_pb2.ManagementResponse(msg="{}")

    def UnregisterModel(self, request: Any, context: Any) -> Any:
        """Say that a model is unloaded."""
        return management_pb2.ManagementResponse(msg="{}")

    def ScaleWorker(self, request: Any, context: Any) -> Any:
        """Say that a model has as many workers as asked for."""
        return management_pb2.ManagementResponse(msg="{}")

    def ListModels(self, request: Any, context: Any) -> Any:
        """Name the models."""
        models = [{"modelName": name} for name in self.backend_names()]
        return management_pb2.ManagementResponse(msg=json.dumps({"models": models}))

    def DescribeModel(self, request: Any, context: Any) -> Any:
        """Say that a model has a ready worker."""
        return management_pb2.ManagementResponse(msg=json.dumps([{"workers": [{"status": "READY"}]}]))

    def backend_names(self) -> list[str]:
        """The names of the models."""
        return [name_of(name, digest_of(model.kind)) for name, model in JOB_MODELS.items()]

    def worker(self, backend_name: str) -> dict[str, Answer]:
        """What a model's socket answers."""

        def predict(message: bytes, context: Any) -> bytes:
            end = 4 + int.from_bytes(message[:4], "little")
            return self.answer(backend_name, {"request": message[4:end], "pixels": message[end:]}, context)

        return {"Predict": predict, "State": lambda *_: b'{"calls": 0, "quiet_s": 1e9}'}

    def _model(self, backend_name: str) -> ModelDescription:
        height, width, channels = self.shape
        model = JOB_MODELS[backend_name.rpartition("-")[0]]
        return replace(model, height=height, width=width, channels=channels, device_class=self.device)


@contextlib.contextmanager
def running_model_server(**options: Any) -> Iterator[FakeTorchServe]:
    """Run a FakeTorchServe on a free port, and its sockets in a folder with a short name, for the length of a block."""
    with tempfile.TemporaryDirectory(prefix="mintage-") as sockets:
        servicer = FakeTorchServe(Path(sockets), **options)
        pool, limits = ThreadPoolExecutor(32), [("grpc.max_receive_message_length", 1 << 26)]
        server = grpc.server(pool, options=limits)
        inference_pb2_grpc.add_InferenceAPIsServiceServicer_to_server(servicer, server)
        management_pb2_grpc.add_ManagementAPIsServiceServicer_to_server(servicer, server)
        servicer.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        workers = SocketServer(pool)
        for name in servicer.backend_names():
            workers.listen(servicer.sockets / socket_name(name, 1), servicer.worker(name))
        try:
            yield servicer
        finally:
            servicer.pass_gate.set()
            workers.stop()
            server.stop(0).wait()
