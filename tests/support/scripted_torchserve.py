"""A TorchServe, its model workers included, whose answers and failures are told beforehand."""

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
from grpc import StatusCode as Code
from mintage.torchserve import inference_pb2, inference_pb2_grpc, management_pb2, management_pb2_grpc
from safetensors.numpy import save

from handlers.serving.listener import Call, CallError, Method, listen
from service.backend.torchserve import TorchServe
from service.backend.workers import socket_name


def described(ready: int, total: int) -> str:
    """What DescribeModel answers, less what nobody reads."""
    workers = [{"status": "READY" if number < ready else "UNLOADING"} for number in range(total)]
    return json.dumps([{"workers": workers}])


def blob(**header: object) -> bytes:
    """What a model worker answers, with some fields of its header changed."""
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
    """Run a script, with sockets for its workers, and a client of it."""
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
    """What a call comes to."""

    async def made() -> Any:
        async with talking_to(script) as client:
            return await call(client)

    return asyncio.run(made())


def registered(client: TorchServe) -> Awaitable[None]:
    """Register a model of two workers."""
    return client.register("m.mar", "m", 2, startup_timeout_s=5.5, response_timeout_s=7)
