"""The API process: its parts put together, started, drained and stopped. `mintage serve api` runs it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
import uvloop
from google.longrunning import operations_pb2, operations_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from mintage.v1 import (
    classification_pb2,
    classification_pb2_grpc,
    explanation_pb2,
    explanation_pb2_grpc,
    generation_pb2,
    generation_pb2_grpc,
    jobs_pb2,
    jobs_pb2_grpc,
    latents_pb2,
    latents_pb2_grpc,
    models_pb2,
    models_pb2_grpc,
    neurons_pb2,
    neurons_pb2_grpc,
)
from redis.asyncio import Redis

from service import logs, memory
from service.addresses import Address, read_address
from service.api import metrics_endpoint, reflection
from service.api.health import Health, HealthServicer
from service.api.interceptors import CallInterceptor
from service.api.servicers.classification import ClassificationServicer
from service.api.servicers.explanation.service import ExplanationServicer
from service.api.servicers.generation import GenerationServicer
from service.api.servicers.jobs.service import JobServicer
from service.api.servicers.latents.service import LatentServicer
from service.api.servicers.models import ModelServicer
from service.api.servicers.neurons.service import NeuronServicer
from service.api.servicers.operations import OperationsServicer
from service.backend.model_server import ModelServer
from service.backend.torchserve import TorchServe
from service.jobs.ledger import connection
from service.jobs.ledger.pins import LedgerPins
from service.metrics import Metrics
from service.models.asking.admission import Admissions
from service.models.asking.inference import Inference
from service.models.collector import ModelCollector
from service.models.loader import Loader
from service.models.reconciler import Reconciler, parse_wanted
from service.models.registry import Registry
from service.settings import Settings

RESPONSE_TIMEOUT_DEADLINES = 2.0  # the watchdog must outlast every legal request
HELD_MESSAGES = 4  # of the largest size: what the calls at one model may hold in memory together
_CANNOT_LISTEN = "cannot listen ({}): the port is taken, or the host is not one of this machine"
LAST_WORDS_S = 3.0  # in which calls that were ended tell their callers so

log = structlog.get_logger("mintage.api")


class CannotListenError(OSError):
    """Raised when the API cannot listen on its address."""


@dataclass(frozen=True, slots=True)
class Api:
    """The parts of a running API; `address` is what it is bound to."""

    address: str
    server: Any
    health: Health
    reconciler: Reconciler
    loader: Loader
    registry: Registry
    admissions: Admissions
    interceptor: CallInterceptor
    metrics: Metrics

    async def drain(self, seconds: float) -> None:
        """Say NOT_SERVING, take no new calls, give running ones this many seconds, then end them."""
        self.health.stop()
        self.interceptor.drain()
        await self.interceptor.quiet()
        stopped = asyncio.create_task(self.server.stop(seconds + LAST_WORDS_S))
        await asyncio.wait((stopped,), timeout=seconds)
        await self.end()
        await stopped

    async def end(self) -> None:
        """End every call at once, with UNAVAILABLE, and stop."""
        self.interceptor.end()
        await self.interceptor.quiet()
        await self.server.stop(LAST_WORDS_S)


def run(settings: Settings) -> None:
    """Run the API until SIGTERM or SIGINT.

    Raises:
        CannotListenError: if the address is taken or not one of this machine.
    """
    logs.configure(settings)
    memory.keep()
    memory.settle()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings))


async def serve(settings: Settings) -> None:
    """Run the API until SIGTERM or SIGINT; a second one ends it at once.

    Raises:
        CannotListenError: if the address is taken or not one of this machine.
    """
    signals = _signals()
    models = TorchServe.from_settings(settings)
    redis = connection.connect(settings)
    try:
        async with running(settings, models=models, redis=redis) as api:
            await _until_signal(api, signals, settings.drain_s)
    finally:
        await redis.aclose()
        await models.close()


@contextlib.asynccontextmanager
async def running(settings: Settings, *, models: ModelServer, redis: Redis) -> AsyncIterator[Api]:
    """Run the API inside a `with`; it ends at once with it, so drain it first.

    Args:
        settings: Of the API.
        models: Where the models are.
        redis: The job store.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count(), thread_name_prefix="images") as pool:
        api = _build(settings, models, redis, pool)
        await api.server.start()
        log.info("listening", address=api.address)
        loops = [asyncio.create_task(loop) for loop in (api.reconciler.run(), api.health.run())]
        try:
            yield api
        finally:
            await api.end()
            for loop in loops:
                loop.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await api.reconciler.close()
            await api.loader.close()
            pool.shutdown(wait=False, cancel_futures=True)
            api.interceptor.calls.flush()
            log.info("stopped", address=api.address)


def _build(settings: Settings, models: ModelServer, redis: Redis, pool: ThreadPoolExecutor) -> Api:
    """Make every part and put them together."""
    metrics = Metrics()
    interceptor = CallInterceptor(metrics, max_deadline_s=settings.max_deadline_s)
    server = grpc.aio.server(interceptors=[interceptor], options=server_options(settings))
    address = _bind(server, settings.api_address)
    registry = Registry(settings.archives)
    pins = LedgerPins(redis)
    response_timeout_s = RESPONSE_TIMEOUT_DEADLINES * settings.max_deadline_s
    loader = Loader(models, registry, response_timeout_s=response_timeout_s, pins=pins)
    reconciler = Reconciler(models, registry, loader, wanted=parse_wanted(settings.load_models), pins=pins)
    health = Health(registry, reconciler, redis)
    admissions = Admissions(calls=settings.max_calls, held_bytes=HELD_MESSAGES * settings.max_message_bytes)
    inference = Inference(models, registry, admissions=admissions, pool=pool, metrics=metrics)
    generation_pb2_grpc.add_GenerationServiceServicer_to_server(
        GenerationServicer(settings, registry, inference), server
    )
    latents_pb2_grpc.add_LatentServiceServicer_to_server(LatentServicer(settings, registry, inference), server)
    classification_pb2_grpc.add_ClassificationServiceServicer_to_server(
        ClassificationServicer(settings, registry, inference), server
    )
    explanation_pb2_grpc.add_ExplanationServiceServicer_to_server(
        ExplanationServicer(settings, registry, inference), server
    )
    neurons_pb2_grpc.add_NeuronServiceServicer_to_server(NeuronServicer(settings, registry, inference), server)
    models_pb2_grpc.add_ModelServiceServicer_to_server(
        ModelServicer(registry, loader, max_archive_bytes=settings.max_archive_bytes), server
    )
    jobs_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(settings, redis, registry, inference), server)
    operations_pb2_grpc.add_OperationsServicer_to_server(OperationsServicer(settings, redis), server)
    health_pb2_grpc.add_HealthServicer_to_server(HealthServicer(health, settings.stack_entry), server)
    reflection.enable(_service_names(), server)
    metrics.collection.register(ModelCollector(admissions, registry))
    if settings.metrics_port:
        _expose(metrics, settings)
    return Api(
        address=address,
        server=server,
        health=health,
        reconciler=reconciler,
        loader=loader,
        registry=registry,
        admissions=admissions,
        interceptor=interceptor,
        metrics=metrics,
    )


def _bind(server: Any, address: str) -> str:
    """Bind the server; returns the address with the port that it really got."""
    wanted = read_address(address, lowest_port=0)
    try:
        port = server.add_insecure_port(str(wanted))
    except RuntimeError:
        port = 0
    if not port:
        raise CannotListenError(errno.EADDRINUSE, _CANNOT_LISTEN.format("MINTAGE_API_ADDRESS"), address)
    return str(Address(wanted.host, port))


def _expose(metrics: Metrics, settings: Settings) -> None:
    """Serve the metrics on the API's host."""
    address = Address(read_address(settings.api_address, lowest_port=0).host, settings.metrics_port)
    try:
        metrics_endpoint.expose(metrics.collection, address.host, address.port)
    except OSError as error:
        raise CannotListenError(error.errno, _CANNOT_LISTEN.format("MINTAGE_METRICS_PORT"), str(address)) from None


def server_options(settings: Settings) -> Sequence[tuple[str, int]]:
    """Return gRPC's options of the server."""
    return (
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", settings.max_message_bytes),
        ("grpc.max_send_message_length", settings.max_message_bytes),
        ("grpc.compression_enabled_algorithms_bitset", 1),  # none: a few bytes may become any number
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
        ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ("grpc.keepalive_permit_without_calls", 1),
    )


def _service_names() -> tuple[str, ...]:
    files = (
        generation_pb2,
        latents_pb2,
        classification_pb2,
        neurons_pb2,
        explanation_pb2,
        models_pb2,
        jobs_pb2,
        operations_pb2,
        health_pb2,
    )
    return tuple(service.full_name for file in files for service in file.DESCRIPTOR.services_by_name.values())


def _signals() -> asyncio.Queue[signal.Signals]:
    """The queue of signals that ask this process to end."""
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signals.put_nowait, number)
    return signals


async def _until_signal(api: Api, signals: asyncio.Queue[signal.Signals], drain_s: float) -> None:
    """Wait for a signal, then drain; a second signal cuts that short."""
    first = await signals.get()
    log.info("draining", signal=first.name, seconds=drain_s)
    drained = asyncio.create_task(api.drain(drain_s))
    second = asyncio.create_task(signals.get())
    await asyncio.wait((drained, second), return_when=asyncio.FIRST_COMPLETED)
    if second.done():
        log.info("stopping at once", signal=second.result().name)
        await api.end()
    second.cancel()
    await drained
