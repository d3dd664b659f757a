"""The calls of JobService that steer a job, and the one that reads a shard."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any, BinaryIO

from mintage.v1 import jobs_pb2, jobs_pb2_grpc
from redis.asyncio import Redis

from service.errors import FailedPrecondition, NotFound
from service.jobs.control import Control
from service.jobs.formats.choice import layout_of
from service.jobs.ledger import Ledger
from service.jobs.output import Output, OutputError
from service.jobs.plan import Plan
from service.jobs.shards import read_marker
from service.jobs.store import open_store
from service.servicers.job_messages import job_message
from service.settings import Settings
from service.validation import Violations

READ_BYTES = 1 << 20
WAIT_S = 0.1


class JobControlServicer(jobs_pb2_grpc.JobServiceServicer):
    """Answers the part of JobService that steers a job."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._settings = settings
        self._store = open_store(settings)
        self._ledger = Ledger(redis)
        self._control = Control(self._ledger)

    async def CancelJob(self, request: jobs_pb2.CancelJobRequest, context: Any) -> jobs_pb2.CancelJobResponse:
        """Ask a job to stop."""
        job = checked_name(request.name)
        await self._ledger.cancel(job)
        return jobs_pb2.CancelJobResponse(job=await self._job(job))

    async def PauseJob(self, request: jobs_pb2.PauseJobRequest, context: Any) -> jobs_pb2.PauseJobResponse:
        """Pause a job."""
        job = checked_name(request.name)
        await self._control.pause(job)
        return jobs_pb2.PauseJobResponse(job=await self._job(job))

    async def ResumeJob(self, request: jobs_pb2.ResumeJobRequest, context: Any) -> jobs_pb2.ResumeJobResponse:
        """Let a paused job go on."""
        job = checked_name(request.name)
        await self._control.resume(job)
        return jobs_pb2.ResumeJobResponse(job=await self._job(job))

    async def RetryFailedShards(
        self, request: jobs_pb2.RetryFailedShardsRequest, context: Any
    ) -> jobs_pb2.RetryFailedShardsResponse:
        """Give failed shards fresh attempts."""
        job = checked_name(request.name)
        await self._control.retry(job)
        return jobs_pb2.RetryFailedShardsResponse(job=await self._job(job))

    async def DeleteJob(self, request: jobs_pb2.DeleteJobRequest, context: Any) -> jobs_pb2.DeleteJobResponse:
        """Delete a job, if need be after cancelling it; the call's deadline bounds the wait."""
        job = checked_name(request.name)
        if request.force:
            await self._ledger.cancel(job)
            while (view := await self._ledger.job(job)).state != "DELETING" and not view.terminal:
                await asyncio.sleep(WAIT_S)
        await self._control.delete(job, self._store)
        return jobs_pb2.DeleteJobResponse()

    async def ReadShard(
        self, request: jobs_pb2.ReadShardRequest, context: Any
    ) -> AsyncIterator[jobs_pb2.ReadShardResponse]:
        """Stream the file of a finished shard."""
        plan = (await self._ledger.job(checked_name(request.name))).plan
        await self._check_done(plan, request.index)
        try:
            async for part in _parts(self._store.output(plan.prefix), plan, request.index):
                yield part
        except (OutputError, OSError) as error:
            raise FailedPrecondition(f"the shard cannot be read: {error}", reason="OUTPUT_DAMAGED") from error

    async def _check_done(self, plan: Plan, shard: int) -> None:
        """Refuse a shard that does not exist or is not finished."""
        inside = 0 <= shard < plan.shards
        views = await self._ledger.shards(plan.job, first=shard, limit=1) if inside else []
        if not views or views[0].state != "DONE":
            why = f"is {views[0].state}, not finished" if views else f"does not exist: there are {plan.shards:,}"
            raise NotFound(f"shard {shard} of jobs/{plan.job} {why}", reason="SHARD_NOT_FINISHED")

    async def _job(self, job: str) -> jobs_pb2.Job:
        return job_message(await self._ledger.job(job), self._store)


def checked_name(name: str) -> str:
    """Return the id in `jobs/{job}`.

    Raises:
        InvalidArgument: if it is no such name.
    """
    violations = Violations()
    job = violations.job_name("name", name)
    violations.check()
    return job


async def _parts(output: Output, plan: Plan, shard: int) -> AsyncIterator[jobs_pb2.ReadShardResponse]:
    """Read a shard's file piece by piece in threads, after what its marker says."""
    layout = layout_of(plan)
    marker = await asyncio.to_thread(read_marker, output, shard)
    size = await asyncio.to_thread(layout.size, output, shard)
    if marker is None or size != marker.bytes:
        raise OutputError(f"{layout.name(shard)} is missing or was changed: it is not what its marker says")
    header = jobs_pb2.ShardHeader(digest=marker.digest, size_bytes=size, file_name=layout.file_name(shard))
    yield jobs_pb2.ReadShardResponse(header=header)
    with contextlib.ExitStack() as stack:
        file = await asyncio.to_thread(stack.enter_context, layout.open(output, shard))
        while data := await asyncio.to_thread(_read, file):
            yield jobs_pb2.ReadShardResponse(data=data)


def _read(file: BinaryIO) -> bytes:
    return file.read(READ_BYTES)
