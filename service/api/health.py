"""grpc.health.v1: an entry says SERVING only if a real call would succeed.

    ""                                  all of these: every model that should be loaded is ready
    mintage.v1.GenerationService        a generator is ready or, if none should be loaded, the model server answers
    mintage.v1.LatentService            the same
    mintage.v1.ClassificationService    the same of classifiers
    mintage.v1.NeuronService            the same of autoencoders
    mintage.v1.ModelService             the model server answers
    mintage.v1.JobService               Redis answers, and jobs can be written, as the dispatcher finds by trying
    google.longrunning.Operations       Redis answers
    models/{model}                      the model is ready; it may be so while the model server hangs
    stacks/{id}                         this is the API of that stack, which alone knows its id; List does not show it

Each check is answered from what the reconciler knows now; Redis is asked every second.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from redis.asyncio import Redis
from redis.exceptions import RedisError

from service.backend.protocol.description import Kind
from service.jobs.ledger.ledger import STORAGE
from service.models.reconciler import Reconciler
from service.models.registry import Entry, Registry

PERIOD_S = 1.0  # between two questions: as stale as an answer about Redis may be
REDIS_TIMEOUT_S = 2.0  # a Redis that takes longer to answer does not serve
GENERATION = "mintage.v1.GenerationService"
LATENTS = "mintage.v1.LatentService"
CLASSIFICATION = "mintage.v1.ClassificationService"
NEURONS = "mintage.v1.NeuronService"
EXPLANATION = "mintage.v1.ExplanationService"
MODELS = "mintage.v1.ModelService"
JOBS = "mintage.v1.JobService"
OPERATIONS = "google.longrunning.Operations"


class Health:
    """What works now.

    Args:
        registry: The models and their conditions.
        reconciler: Knows whether the model server answers and which wanted models are missing.
        redis: The job store.
    """

    def __init__(self, registry: Registry, reconciler: Reconciler, redis: Redis) -> None:
        self._registry = registry
        self._reconciler = reconciler
        self._redis = redis
        self._redis_answers = False
        self._storage_refuses = False
        self._changed = asyncio.Event()
        self._seen: dict[str, bool] = {}
        self.stopping = False

    async def run(self) -> None:
        """Ask Redis and wake the watchers of changes, until cancelled."""
        while True:
            await self.poll()
            await asyncio.sleep(PERIOD_S)

    async def poll(self) -> None:
        """Ask Redis once, and wake the watchers if anything has changed."""
        try:
            async with asyncio.timeout(REDIS_TIMEOUT_S):
                self._storage_refuses = bool(await self._redis.exists(STORAGE))
            self._redis_answers = True
        except (RedisError, OSError, TimeoutError):
            self._redis_answers = False
        statuses = self.statuses()
        if statuses != self._seen:
            self._seen = statuses
            self._wake()

    def statuses(self) -> dict[str, bool]:
        """Every entry and whether it serves."""
        entries = self._registry.entries()
        server = self._reconciler.server_answers
        jobs = self._redis_answers and not self._storage_refuses
        everything = server and jobs and not self._reconciler.missing
        found = {
            "": everything and all(map(_is_ready, entries)),
            GENERATION: _one_is_ready(entries, "generator", server),
            LATENTS: _one_is_ready(entries, "generator", server),
            CLASSIFICATION: _one_is_ready(entries, "classifier", server),
            NEURONS: _one_is_ready(entries, "neurons", server),
            EXPLANATION: any(map(_is_ready, entries)) if entries else server,
            MODELS: server,
            JOBS: jobs,
            OPERATIONS: self._redis_answers,
            **{f"models/{entry.name}": _is_ready(entry) for entry in entries},
        }
        return dict.fromkeys(found, False) if self.stopping else found

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yield now, and each time after something may have changed; end when the server stops."""
        while True:
            changed = self._changed
            yield
            if self.stopping:
                return
            await changed.wait()

    def stop(self) -> None:
        """Report NOT_SERVING for everything from now on, and tell the watchers."""
        self.stopping = True
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class HealthServicer(health_pb2_grpc.HealthServicer):  # type: ignore[misc] # grpc_health has no types
    """The standard health service over `Health`.

    Args:
        health: What works.
        stack_entry: The entry by which a stack knows this API as its own; empty if it belongs to none.
    """

    def __init__(self, health: Health, stack_entry: str = "") -> None:
        self._health = health
        self._stack_entry = stack_entry or None

    async def Check(self, request: health_pb2.HealthCheckRequest, context: Any) -> health_pb2.HealthCheckResponse:
        """Say whether an entry serves; NOT_FOUND if there is no such entry."""
        serves = self._health.statuses().get(request.service)
        if serves is None and request.service == self._stack_entry:
            serves = True
        if serves is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service or model")
        return health_pb2.HealthCheckResponse(status=_status(serves))

    async def Watch(
        self, request: health_pb2.HealthCheckRequest, context: Any
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Stream an entry now and whenever it changes."""
        last = None
        async with contextlib.aclosing(self._health.changes()) as changes:
            async for _ in changes:
                status = _status(self._health.statuses().get(request.service))
                if status != last:
                    yield health_pb2.HealthCheckResponse(status=status)
                last = status


def _status(serves: bool | None) -> int:
    if serves is None:
        return int(health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
    return int(health_pb2.HealthCheckResponse.SERVING if serves else health_pb2.HealthCheckResponse.NOT_SERVING)


def _is_ready(entry: Entry) -> bool:
    return entry.condition.state == "ready"


def _one_is_ready(entries: list[Entry], kind: Kind, server: bool) -> bool:
    """Whether a model of a kind is ready; if none should be loaded, whether the model server answers."""
    of_kind = [entry for entry in entries if entry.record is not None and entry.record.kind == kind]
    return any(map(_is_ready, of_kind)) if of_kind else server
