"""An API over real networks in this process: no TorchServe, but all that handlers compute."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, cast

from redis.asyncio import Redis

from handlers.compute.model import Model
from handlers.operations.classification import Classifier
from handlers.operations.detection import Detector
from handlers.operations.direct import MAX_BYTES, answers
from handlers.operations.judging import Judge
from handlers.operations.sampler import Sampler
from handlers.protocol.messages import read_request, write_answer
from service.api.server import running
from service.backend.protocol.description import ModelDescription
from service.backend.protocol.messages import read_description
from service.backend.workers import Priority
from service.settings import Settings
from tests.support.formula import put
from tests.support.model_server import FakeModelServer
from tests.support.world import FakeRedis, World, until

OPERATIONS: Mapping[str, type[Any]] = {
    "generator": Sampler,
    "classifier": Classifier,
    "neurons": Detector,
    "discriminator": Judge,
}


class RealModels(FakeModelServer):
    """Answers for real networks, one request at a time. An archive's text is the kind and the name of a model."""

    def __init__(self, archives: Path, networks: Mapping[str, Model]) -> None:
        super().__init__(archives)
        self._operations = {name: OPERATIONS[model.kind](model, MAX_BYTES) for name, model in networks.items()}
        self._names: dict[str, str] = {}  # by the name in the model server
        self._one = asyncio.Lock()

    async def predict(
        self,
        backend_name: str,
        inputs: Mapping[str, bytes],
        *,
        timeout_s: float,
        client: str = "",
        priority: Priority = "interactive",
    ) -> bytes:
        """Answer a request, in a thread; one whose caller has left is not begun."""
        async with asyncio.timeout(timeout_s), self._one:
            self.requests.append((backend_name, json.loads(inputs["request"])))
            return await asyncio.to_thread(self._answer, backend_name.rpartition("-")[0], inputs)

    def described(self, text: str) -> ModelDescription:
        """What the model is whose archive holds this text."""
        return read_description(self._answer(text.split()[1], {"request": b'{"op": "describe"}'}))

    def _answer(self, name: str, inputs: Mapping[str, bytes]) -> bytes:
        operations = self._operations[name]
        [found] = answers(operations, [read_request(inputs)])
        return write_answer(found, operations.facts)


@contextlib.asynccontextmanager
async def real_world(folder: Path, networks: Mapping[str, Model], **settings: Any) -> AsyncIterator[World]:
    """An API on a free port with these models, all ready."""
    chosen = Settings(state_dir=folder, api_address="127.0.0.1:0", **settings)
    models, redis = RealModels(chosen.archives, networks), FakeRedis()
    for name, model in networks.items():
        text = f"{model.kind} {name}"
        put(chosen.archives, name, text, models.described(text))
    async with running(chosen, models=models, redis=cast(Redis, redis)) as api:
        await until(lambda: all(entry.condition.state == "ready" for entry in api.registry.entries()))
        models.requests.clear()
        yield World(api, models, redis, chosen)
