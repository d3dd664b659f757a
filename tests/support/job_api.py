"""JobService over a real gRPC server, with what the API puts around it, a real Valkey and a real folder."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from mintage.v1 import jobs_pb2, jobs_pb2_grpc

from service.api.interceptors import CallInterceptor
from service.api.servicers.jobs.service import JobServicer
from service.errors import Unavailable
from service.jobs.ledger.connection import connect
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import Lease
from service.metrics import Metrics
from service.models.registry import Registry
from service.settings import Settings
from tests.support.formula import put_job_models

State = jobs_pb2.Job.State
Code = grpc.StatusCode
SAMPLE = {"model": "models/digits", "count": 10, "shard_size": 4, "seed": 2**64 - 1}


@dataclasses.dataclass
class Api:
    """A connection to the API, and what is behind it."""

    stub: jobs_pb2_grpc.JobServiceStub
    ledger: Ledger
    registry: Registry
    outputs: Path

    async def sample(self, **changes: Any) -> jobs_pb2.Job:
        """Create a sample job."""
        answer = await self.stub.CreateSampleJob(jobs_pb2.CreateSampleJobRequest(**{**SAMPLE, **changes}))
        job: jobs_pb2.Job = answer.job
        return job

    async def score(self, source: str, **changes: Any) -> jobs_pb2.Job:
        """Create a score job."""
        request = jobs_pb2.CreateScoreJobRequest(**{"model": "models/judge", "source_job": source, **changes})
        job: jobs_pb2.Job = (await self.stub.CreateScoreJob(request)).job
        return job

    async def run_all(self, job: jobs_pb2.Job) -> None:
        """Let the ledger believe that a job was done."""
        plan = (await self.ledger.job(job.name[5:])).plan
        for shard in range(plan.shards):
            lease = await self.ledger.claim(plan.job, shard, owner=str(shard), worker="w", lease_s=60)
            assert isinstance(lease, Lease)
            await self.ledger.commit(lease, digest="d" * 64, images=len(plan.span(shard)), size_bytes=100)
        assert await self.ledger.finish(plan.job, "FINALIZING", "SUCCEEDED", root_digest="e" * 64)


@contextlib.asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Api]:
    """Serve JobService on a free port."""
    client, registry = connect(settings), put_job_models(settings.archives)
    with contextlib.suppress(Unavailable):
        await Ledger(client).note_indexed(await Ledger(client).incarnation())  # as the dispatcher that begins to lead
    server = grpc.aio.server(interceptors=[CallInterceptor(Metrics(), max_deadline_s=30)])
    servicer = JobServicer(settings, client, registry, None)  # type: ignore[arg-type]
    jobs_pb2_grpc.add_JobServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Api(jobs_pb2_grpc.JobServiceStub(channel), Ledger(client), registry, Path(settings.outputs))
    finally:
        await server.stop(None)
        left = asyncio.all_tasks() - {asyncio.current_task()}  # a stopped server leaves calls behind for a moment
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await client.aclose()


Use = Callable[[Callable[[Api], Coroutine[Any, Any, None]]], None]


async def refused(call: Any, code: grpc.StatusCode) -> str:
    """Await a call that must fail so; returns what it says."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() == code, caught.value.details()
    return str(caught.value.details())


async def wrong_fields(call: Any) -> list[str]:
    """Await a call whose fields are wrong; returns their names."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() == Code.INVALID_ARGUMENT, caught.value.details()
    status = rpc_status.from_call(caught.value)
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    return sorted(violation.field for violation in bad.field_violations)
