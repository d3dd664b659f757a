"""TorchServe's answers, as they were measured, become the errors that they really are."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from grpc import StatusCode as Code
from mintage.torchserve import inference_pb2, inference_pb2_grpc, management_pb2, management_pb2_grpc
from safetensors.numpy import save
from structlog.testing import capture_logs

from handlers.serving.listener import Call, CallError, Method, listen
from service import errors
from service.backend import torchserve_management
from service.backend.torchserve import TorchServe
from service.backend.torchserve_answers import BackendStatus
from service.backend.workers import socket_name


def described(ready: int, total: int) -> str:
    """What DescribeModel answers, less what nobody reads."""
    workers = [{"status": "READY" if number < ready else "UNLOADING"} for number in range(total)]
    return json.dumps([{"workers": workers}])


def blob(**header: object) -> bytes:
    computed = {"device_class": "cpu", "torch_version": "2", "numerics": 1, "precision": "float32"}
    facts = {"status": "ok", "message": "", **computed, "recipe": "r", "run_digest": "c" * 64, "classes": []}
    shape = {"kind": "generator", "height": 2, "width": 2, "channels": 1, "latent_size": 3, "micro_batch": 4}
    text = json.dumps({**facts, **shape, **header}).encode()
    return save({"header": np.frombuffer(text, np.uint8)})


@dataclass
class Script(inference_pb2_grpc.InferenceAPIsServiceServicer, management_pb2_grpc.ManagementAPIsServiceServicer):
    """A TorchServe whose answers, or failures with code and text, are told beforehand."""

    prediction: bytes | tuple[Code, str] = b""
    registration: str | tuple[Code, str] = "registered"
    descriptions: list[str | tuple[Code, str]] = field(default_factory=lambda: [described(1, 1)])
    pages: list[list[str]] = field(default_factory=lambda: [[]])
    calls: list[Any] = field(default_factory=list)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    hang: bool = False
    silent: bool = False
    slow: bool = False  # one that hangs still answers other calls
    sockets: int = 1
    address: str = ""
    asked: list[str] = field(default_factory=list)

    async def Predictions(self, request: Any, context: Any) -> Any:
        self.calls.append(request)
        if self.hang:
            await self.release.wait()
        return inference_pb2.PredictionResponse(prediction=await _told(self.prediction, context))

    async def DescribeModel(self, request: Any, context: Any) -> Any:
        told = self.descriptions.pop(0) if len(self.descriptions) > 1 else self.descriptions[0]
        return management_pb2.ManagementResponse(msg=await _told(told, context))

    async def ListModels(self, request: Any, context: Any) -> Any:
        if self.silent:
            await context.abort(Code.UNAVAILABLE, "keepalive watchdog timeout")
        page = request.next_page_token
        answer: dict[str, Any] = {"models": [{"modelName": name, "modelUrl": "x.mar"} for name in self.pages[page]]}
        if page + 1 < len(self.pages):
            answer["nextPageToken"] = str(page + 1)
        return management_pb2.ManagementResponse(msg=json.dumps(answer))

    async def RegisterModel(self, request: Any, context: Any) -> Any:
        self.calls.append(request)
        if self.hang:
            self.silent = not self.slow
            await self.release.wait()
        return management_pb2.ManagementResponse(msg=await _told(self.registration, context))

    async def UnregisterModel(self, request: Any, context: Any) -> Any:
        self.calls.append(request)
        return management_pb2.ManagementResponse(msg=await _told(self.registration, context))

    async def ScaleWorker(self, request: Any, context: Any) -> Any:
        self.calls.append(request)
        if self.hang:
            self.silent = not self.slow
            await self.release.wait()
        return management_pb2.ManagementResponse(msg=await _told(self.registration, context))


async def _told(told: Any, context: Any) -> Any:
    if isinstance(told, tuple):
        await context.abort(*told)
    return told


def worker(script: Script) -> dict[str, Method]:
    """A worker's socket, which answers what TorchServe is told to."""

    async def predict(message: bytes, _: Call) -> bytes:
        script.asked.append(json.loads(message[4 : 4 + int.from_bytes(message[:4], "little")])["op"])
        told: Any = script.prediction
        if isinstance(told, tuple):
            raise CallError(told[0].name, told[1])
        return bytes(told)

    return {"Predict": predict}


@asynccontextmanager
async def talking_to(script: Script) -> AsyncIterator[TorchServe]:
    with tempfile.TemporaryDirectory(prefix="mintage-") as folder:
        server = grpc.aio.server()
        inference_pb2_grpc.add_InferenceAPIsServiceServicer_to_server(script, server)
        management_pb2_grpc.add_ManagementAPIsServiceServicer_to_server(script, server)
        address = script.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        await server.start()
        sockets = [Path(folder, socket_name("m", pid)) for pid in range(script.sockets)]
        listeners = [await listen(path, worker(script), max_message_bytes=2**20) for path in sockets]
        client = TorchServe(inference=address, management=address, sockets=Path(folder), max_message_bytes=2**20)
        try:
            yield client
        finally:
            await client.close()
            for listener in listeners:
                listener.close()
            await server.stop(None)


def outcome(script: Script, call: Callable[[TorchServe], Awaitable[Any]]) -> Any:
    async def made() -> Any:
        async with talking_to(script) as client:
            return await call(client)

    return asyncio.run(made())


def registered(client: TorchServe) -> Awaitable[None]:
    return client.register("m.mar", "m", 2, startup_timeout_s=5.5, response_timeout_s=7)


NO_WORKER = 'Model "m" has no worker to serve inference request. Please use scale workers API to add workers.'


@pytest.mark.parametrize(
    ("code", "text", "kind", "reason"),
    [
        (Code.INTERNAL, "Model not found: m", errors.Unavailable, "MODEL_NOT_LOADED"),
        (Code.INTERNAL, NO_WORKER, errors.Unavailable, "NO_WORKER"),
        (Code.INTERNAL, "Worker died.", errors.Unavailable, "WORKER_DIED"),
        (Code.RESOURCE_EXHAUSTED, "Worker died.", errors.Unavailable, "WORKER_DIED"),
        (Code.INTERNAL, "Out of resources", errors.ResourceExhausted, "OUT_OF_MEMORY"),
        (Code.UNAVAILABLE, "Prediction failed", errors.Internal, "MODEL_FAILED"),
        (Code.UNAVAILABLE, "number of batch response mismatched", errors.Internal, "MODEL_FAILED"),
        (Code.UNAVAILABLE, "Invalid model predict output", errors.Internal, "MODEL_FAILED"),
        (Code.UNAVAILABLE, "Socket closed", errors.Unavailable, "MODEL_SERVER_UNAVAILABLE"),
        (Code.PERMISSION_DENIED, "Token Authentication failed.", errors.Internal, "MODEL_FAILED"),
        (Code.UNKNOWN, "", errors.Internal, "MODEL_FAILED"),
    ],
)
def test_each_failure_to_answer_after_a_registration_gets_its_real_name(
    code: Code, text: str, kind: type[errors.MintageError], reason: str
) -> None:
    with pytest.raises(kind) as failure:
        outcome(Script(prediction=(code, text)), registered)
    assert failure.value.reason == reason
    assert type(failure.value) is kind


def test_from_another_host_requests_go_through_torchserve_and_name_their_caller(tmp_path: Path) -> None:
    script = Script(prediction=blob())

    async def called(client: TorchServe) -> bytes:
        elsewhere = TorchServe(
            inference=script.address, management=script.address, sockets=tmp_path / "none", max_message_bytes=2**20
        )
        try:
            await elsewhere.wait_until_ready("m", 10)
            return await elsewhere.predict("m", {"request": b"{}"}, timeout_s=10, client="painter", priority="bulk")
        finally:
            await elsewhere.close()

    assert outcome(script, called) == blob() and script.asked == []
    assert dict(script.calls[-1].input) == {"request": b"{}", "client": b"painter", "class": b"bulk"}


def test_no_torchserve_at_all_is_unavailable(tmp_path: Path) -> None:
    async def nobody() -> None:
        client = TorchServe(
            inference="127.0.0.1:1", management="127.0.0.1:1", sockets=tmp_path, max_message_bytes=2**20
        )
        try:
            with pytest.raises(errors.Unavailable):
                await client.predict("m", {"request": b"{}"}, timeout_s=60)
            with pytest.raises(errors.Unavailable):
                await client.list_models()
        finally:
            await client.close()

    asyncio.run(nobody())


def test_a_registration_waits_for_the_workers_and_sets_the_limits() -> None:
    script = Script(prediction=blob())
    outcome(script, registered)
    request = script.calls[0]
    assert (request.url, request.model_name, request.initial_workers, request.synchronous) == ("m.mar", "m", 2, True)
    assert (request.startup_timeout, request.response_timeout, request.batch_size) == (6, 7, 1)


FULL, UNFIT = errors.ResourceExhausted, errors.FailedPrecondition


@pytest.mark.parametrize(
    ("code", "text", "loaded", "kind", "reason"),
    [
        (Code.NOT_FOUND, "Model not found at: m.mar", [], errors.NotFound, "ARCHIVE_NOT_FOUND"),
        (Code.NOT_FOUND, "Given URL x does not match any allowed URL(s)", [], errors.NotFound, "ARCHIVE_NOT_FOUND"),
        (Code.UNKNOWN, "", ["m"], errors.AlreadyExists, "ALREADY_EXISTS"),
        (Code.ABORTED, "Model version 1.0 is already registered for model m", ["m"], errors.AlreadyExists, None),
        (Code.UNKNOWN, "", [], errors.Unavailable, "MODEL_SERVER_FAILED"),
        (Code.INTERNAL, "Failed to save model: m.mar\norg.pytorch.serve.Exception", [], FULL, "NO_SPACE"),
        (Code.INTERNAL, "java.io.IOException: No space left on device", [], FULL, "NO_SPACE"),
        (Code.INTERNAL, "Out of resources", [], FULL, "OUT_OF_MEMORY"),
        (Code.INTERNAL, "Failed to start workers for model m version: 1.0", [], UNFIT, "MODEL_START_FAILED"),
        (Code.INTERNAL, "Error while creating workers", [], UNFIT, "MODEL_START_FAILED"),
        (Code.PERMISSION_DENIED, "Model API disabled", [], UNFIT, "MODEL_SERVER_FOREIGN"),
        (Code.PERMISSION_DENIED, "Token Authorization failed. Token either incorrect", [], UNFIT, None),
        (Code.INTERNAL, "Timed out while cleaning resources: m", [], errors.Unavailable, "MODEL_SERVER_FAILED"),
        (Code.INTERNAL, "Model file already exists m.mar", [], errors.Unavailable, "MODEL_SERVER_FAILED"),
        (Code.UNAVAILABLE, "Connection refused", [], errors.Unavailable, "MODEL_SERVER_UNAVAILABLE"),
        (Code.INVALID_ARGUMENT, "Parameter url is required.", [], errors.Internal, "MODEL_SERVER_REFUSED"),
    ],
)
def test_each_failure_of_a_registration_gets_its_real_name(
    code: Code, text: str, loaded: list[str], kind: type[errors.MintageError], reason: str | None
) -> None:
    with pytest.raises(kind) as failure:
        outcome(Script(registration=(code, text), pages=[loaded]), registered)
    assert type(failure.value) is kind
    assert reason in (None, failure.value.reason)


def test_a_refusal_that_nobody_knows_has_an_id_that_is_in_the_log() -> None:
    with capture_logs() as logs, pytest.raises(errors.Internal) as failure:
        outcome(Script(registration=(Code.INTERNAL, "the moon is full")), lambda client: client.scale("m", 2))
    [line] = logs
    assert line["text"] == "the moon is full"
    assert f"id={line['error_id']}" in failure.value.message


@pytest.mark.parametrize("call", [registered, lambda client: client.scale("m", 2, timeout_s=600)])
def test_a_long_call_is_given_up_once_torchserve_answers_nothing_any_more(
    call: Callable[[TorchServe], Awaitable[Any]],
) -> None:
    script = Script(prediction=blob(), hang=True)
    with pytest.raises(errors.Unavailable) as failure:
        outcome(script, call)
    assert failure.value.reason == "MODEL_SERVER_UNAVAILABLE"
    assert len(script.calls) == 1  # it is not asked for anything more


def test_a_long_call_that_takes_too_long_is_told_apart_from_a_torchserve_that_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torchserve_management, "MANAGEMENT_TIMEOUT_S", 0.2)
    with pytest.raises(errors.Unavailable) as failure:
        outcome(Script(hang=True, slow=True), lambda client: client.scale("m", 2, timeout_s=0.5))
    assert failure.value.reason == "MODEL_NOT_STARTED"


def test_an_archive_that_its_worker_refuses_is_unloaded_again_and_the_text_arrives() -> None:
    script = Script(prediction=blob(status="refused", message="output.bias holds a number that is not finite"))
    with pytest.raises(errors.FailedPrecondition, match=r"output\.bias holds a number that is not finite"):
        outcome(script, registered)
    assert isinstance(script.calls[-1], management_pb2.UnregisterModelRequest)


def test_a_model_that_loads_but_does_not_answer_is_unloaded_again() -> None:
    script = Script(prediction=(Code.DEADLINE_EXCEEDED, ""))
    with pytest.raises(errors.Unavailable, match="does not answer"):
        outcome(script, registered)
    assert isinstance(script.calls[-1], management_pb2.UnregisterModelRequest)


def test_every_page_of_models_is_listed() -> None:
    script = Script(pages=[["b", "a"], ["d"], ["c"]])
    assert outcome(script, lambda client: client.list_models()) == ["a", "b", "c", "d"]


def test_workers_are_described() -> None:
    script = Script(descriptions=[described(1, 2)])
    status = outcome(script, lambda client: client.describe("m"))
    assert status == BackendStatus(workers_ready=1, workers_total=2)
    assert not status.ready
    assert not BackendStatus(0, 0).ready
    assert BackendStatus(2, 2).ready


@pytest.mark.parametrize(("ready", "total", "starting"), [(0, 1, True), (1, 2, True), (2, 2, False), (0, 0, False)])
def test_a_model_starts_while_some_worker_is_not_ready(ready: int, total: int, starting: bool) -> None:
    script = Script(descriptions=[described(ready, total)])
    assert outcome(script, lambda client: client.is_starting("m")) is starting


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.unregister("m"),
        lambda client: client.scale("m", 2),
    ],
)
def test_a_model_that_is_not_loaded_cannot_be_managed(call: Callable[[TorchServe], Awaitable[Any]]) -> None:
    with pytest.raises(errors.NotFound):
        outcome(Script(registration=(Code.NOT_FOUND, "Model not found: m")), call)


def test_scaling_sets_both_limits_and_waits() -> None:
    script = Script()
    outcome(script, lambda client: client.scale("m", 3))
    request = script.calls[0]
    assert (request.min_worker, request.max_worker, request.synchronous) == (3, 3, True)


def test_a_proof_waits_for_the_workers_and_has_each_compute() -> None:
    script = Script(prediction=blob(), descriptions=[described(0, 2), described(1, 2), described(2, 2)], sockets=2)
    description = outcome(script, lambda client: client.wait_until_ready("m", 10))
    assert (description.kind, description.micro_batch) == ("generator", 4)
    assert [json.loads(call.input["request"])["op"] for call in script.calls] == ["describe"]
    assert script.asked == ["canary", "canary"]


def test_a_proof_waits_for_the_socket_of_every_worker() -> None:
    script = Script(prediction=blob(), descriptions=[described(2, 2)], sockets=1)
    with pytest.raises(errors.Unavailable, match=r"within 0\.5 s"):
        outcome(script, lambda client: client.wait_until_ready("m", 0.5))


def test_a_proof_fails_if_the_forward_pass_is_not_sound() -> None:
    script = Script(prediction=blob(status="error", message="the model made an image that is not finite"))
    with pytest.raises(errors.Internal, match="not finite"):
        outcome(script, lambda client: client.wait_until_ready("m", 10))


@pytest.mark.parametrize("script", [Script(descriptions=[described(0, 1)]), Script(hang=True)])
def test_a_proof_that_takes_too_long_is_unavailable(script: Script) -> None:
    with pytest.raises(errors.Unavailable, match=r"within 0\.3 s"):
        outcome(script, lambda client: client.wait_until_ready("m", 0.3))
