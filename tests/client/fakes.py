"""An API in a thread for clients without asyncio, and one whose answers a test scripts."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
from mintage.v1 import generation_pb2, jobs_pb2, models_pb2, repair_pb2, verification_pb2

from tests.support.world import World, world


@contextlib.contextmanager
def world_in_a_thread(folder: Path, **settings: Any) -> Iterator[World]:
    """The whole API over fakes, for tests without asyncio."""
    with in_a_thread(lambda: world(folder, **settings)) as at:
        yield at


@contextlib.contextmanager
def in_a_thread(make: Callable[[], AbstractAsyncContextManager[World]]) -> Iterator[World]:
    """An API with a thread and an event loop of its own."""
    ready: futures.Future[tuple[World, asyncio.AbstractEventLoop, asyncio.Event]] = futures.Future()

    async def serve() -> None:
        end = asyncio.Event()
        async with make() as at:
            ready.set_result((at, asyncio.get_running_loop(), end))
            await end.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            raise

    thread = threading.Thread(target=run)
    thread.start()
    at, loop, end = ready.result(60)
    try:
        yield at
    finally:
        loop.call_soon_threadsafe(end.set)
        thread.join()


Step = Callable[[Any, grpc.ServicerContext], Any]


class Script:
    """A server that answers call after call as it is told, and keeps the requests."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self.requests: list[Any] = []
        self.address = ""

    def then(self, *steps: Step) -> None:
        """What the next calls do."""
        self.steps += steps

    def _step(self, request: Any, context: grpc.ServicerContext) -> Any:
        self.requests.append(request)
        return self.steps.pop(0)(request, context)

    @contextlib.contextmanager
    def served(self) -> Iterator[Script]:
        """Serve until the end of the `with`."""
        server = grpc.server(futures.ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        for service, kinds in _SCRIPTED.items():
            handlers = {}
            for method, (request, answer) in kinds.items():
                shape = "unary_stream" if method in _STREAMS else "unary_unary"
                make = getattr(grpc, f"{shape}_rpc_method_handler")
                handlers[method] = make(
                    self._step, request_deserializer=request.FromString, response_serializer=answer.SerializeToString
                )
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
        server.start()
        try:
            yield self
        finally:
            server.stop(None).wait()


_STREAMS = ("StreamGenerate", "WatchModel", "WatchJob", "ReadShard", "ReadJobFile", "VerifyJob", "RepairJob")
_SCRIPTED: dict[str, dict[str, tuple[Any, Any]]] = {
    "mintage.v1.GenerationService": {
        "StreamGenerate": (generation_pb2.StreamGenerateRequest, generation_pb2.StreamGenerateResponse),
    },
    "mintage.v1.ModelService": {
        "GetModel": (models_pb2.GetModelRequest, models_pb2.GetModelResponse),
        "UnloadModel": (models_pb2.UnloadModelRequest, models_pb2.UnloadModelResponse),
        "WatchModel": (models_pb2.WatchModelRequest, models_pb2.WatchModelResponse),
    },
    "mintage.v1.JobService": {
        "CreateSampleJob": (jobs_pb2.CreateSampleJobRequest, jobs_pb2.CreateSampleJobResponse),
        "CreateScoreJob": (jobs_pb2.CreateScoreJobRequest, jobs_pb2.CreateScoreJobResponse),
        "GetJob": (jobs_pb2.GetJobRequest, jobs_pb2.GetJobResponse),
        "ListJobs": (jobs_pb2.ListJobsRequest, jobs_pb2.ListJobsResponse),
        "ListShards": (jobs_pb2.ListShardsRequest, jobs_pb2.ListShardsResponse),
        "WatchJob": (jobs_pb2.WatchJobRequest, jobs_pb2.WatchJobResponse),
        "CancelJob": (jobs_pb2.CancelJobRequest, jobs_pb2.CancelJobResponse),
        "PauseJob": (jobs_pb2.PauseJobRequest, jobs_pb2.PauseJobResponse),
        "ResumeJob": (jobs_pb2.ResumeJobRequest, jobs_pb2.ResumeJobResponse),
        "RetryFailedShards": (jobs_pb2.RetryFailedShardsRequest, jobs_pb2.RetryFailedShardsResponse),
        "DeleteJob": (jobs_pb2.DeleteJobRequest, jobs_pb2.DeleteJobResponse),
        "ReadShard": (jobs_pb2.ReadShardRequest, jobs_pb2.ReadShardResponse),
        "ListJobFiles": (jobs_pb2.ListJobFilesRequest, jobs_pb2.ListJobFilesResponse),
        "ReadJobFile": (jobs_pb2.ReadJobFileRequest, jobs_pb2.ReadJobFileResponse),
        "VerifyJob": (verification_pb2.VerifyJobRequest, verification_pb2.VerifyJobResponse),
        "RepairJob": (repair_pb2.RepairJobRequest, repair_pb2.RepairJobResponse),
    },
}
