"""A server with nothing but the interceptor: what its calls do is what a test says."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from mintage.v1 import generation_pb2, generation_pb2_grpc, jobs_pb2, jobs_pb2_grpc, models_pb2

from service.api.interceptors import CallInterceptor
from service.metrics import Metrics

JOBS = "mintage.v1.JobService"


MODELS = "mintage.v1.ModelService"


METHOD = "/mintage.v1.GenerationService/Generate"


Behaviour = Callable[[], Awaitable[object]]


class Single(generation_pb2_grpc.GenerationServiceServicer):
    """Does what a test says, then answers."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    async def Generate(self, request: generation_pb2.GenerateRequest, context: Any) -> generation_pb2.GenerateResponse:
        await self._behaviour()
        return generation_pb2.GenerateResponse(model="done")

    async def StreamGenerate(self, request: generation_pb2.StreamGenerateRequest, context: Any) -> AsyncIterator[Any]:
        await self._behaviour()
        yield generation_pb2.StreamGenerateResponse(model="done")


class Stream:
    """Answers, does what a test says, answers again."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    async def watch(self, request: jobs_pb2.WatchJobRequest, context: Any) -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        yield jobs_pb2.WatchJobResponse(job=jobs_pb2.Job(name="first"))
        await self._behaviour()
        yield jobs_pb2.WatchJobResponse(job=jobs_pb2.Job(name="second"))


class Loading:
    """Does what a test says, then answers."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    async def load(self, request: models_pb2.LoadModelRequest, context: Any) -> models_pb2.LoadModelResponse:
        await self._behaviour()
        return models_pb2.LoadModelResponse()


class Served:
    """A server with nothing but the interceptor, and a connection to it."""

    def __init__(self, interceptor: CallInterceptor, metrics: Metrics, channel: grpc.aio.Channel) -> None:
        self.interceptor = interceptor
        self.metrics = metrics
        self.channel = channel
        self.generate = generation_pb2_grpc.GenerationServiceStub(channel).Generate
        self.watch = jobs_pb2_grpc.JobServiceStub(channel).WatchJob

    def counted(self, code: str, method: str = METHOD) -> float:
        return (
            self.metrics.collection.get_sample_value("mintage_api_calls_total", {"method": method, "code": code}) or 0
        )

    def in_flight(self, method: str = METHOD) -> float:
        return self.metrics.collection.get_sample_value("mintage_api_calls_in_flight", {"method": method}) or 0


@contextlib.asynccontextmanager
async def served(behaviour: Behaviour, *, max_deadline_s: float = 10.0) -> AsyncIterator[Served]:
    metrics = Metrics()
    interceptor = CallInterceptor(metrics, max_deadline_s=max_deadline_s)
    server = grpc.aio.server(interceptors=[interceptor])
    generation_pb2_grpc.add_GenerationServiceServicer_to_server(Single(behaviour), server)
    watch = grpc.unary_stream_rpc_method_handler(
        Stream(behaviour).watch,
        request_deserializer=jobs_pb2.WatchJobRequest.FromString,
        response_serializer=jobs_pb2.WatchJobResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(JOBS, {"WatchJob": watch}),))
    load = grpc.unary_unary_rpc_method_handler(
        Loading(behaviour).load,
        request_deserializer=models_pb2.LoadModelRequest.FromString,
        response_serializer=models_pb2.LoadModelResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(MODELS, {"LoadModel": load}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Served(interceptor, metrics, channel)
    finally:
        await server.stop(None)


def raising(error: BaseException) -> Behaviour:
    async def behaviour() -> None:
        raise error

    return behaviour


async def nothing() -> None:
    pass


REQUEST = generation_pb2.GenerateRequest()
