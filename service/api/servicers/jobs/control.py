"""The calls of JobService that steer a job."""

from __future__ import annotations

import asyncio
from typing import Any

from mintage.v1 import jobs_pb2, jobs_pb2_grpc
from redis.asyncio import Redis

from service.api.servicers.jobs.messages import job_message
from service.jobs.intents import Intents
from service.jobs.ledger.control import Control
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import JobState
from service.jobs.storage.store import open_store
from service.settings import Settings
from service.validation import Violations

READ_BYTES = 1 << 20
PAUSED: tuple[JobState, ...] = ("PAUSED",)
WITH_FAILED_SHARDS: tuple[JobState, ...] = ("FAILED", "PARTIALLY_SUCCEEDED")
WAIT_S = 0.1


class JobControlServicer(jobs_pb2_grpc.JobServiceServicer):
    """Answers the part of JobService that steers a job."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._settings = settings
        self._store = open_store(settings)
        self._ledger = Ledger(redis)
        self._control = Control(self._ledger)
        self._intents = Intents(self._ledger, self._store)

    async def CancelJob(self, request: jobs_pb2.CancelJobRequest, context: Any) -> jobs_pb2.CancelJobResponse:
        """Ask a job to stop."""
        job = checked_name(request.name)
        await self._ledger.cancel(job)
        recorded = await self._intents.record(job)
        return jobs_pb2.CancelJobResponse(job=job_message(recorded.view, self._store), durable=recorded.durable)

    async def PauseJob(self, request: jobs_pb2.PauseJobRequest, context: Any) -> jobs_pb2.PauseJobResponse:
        """Pause a job."""
        job = checked_name(request.name)
        await self._control.pause(job)
        recorded = await self._intents.record(job)
        return jobs_pb2.PauseJobResponse(job=job_message(recorded.view, self._store), durable=recorded.durable)

    async def ResumeJob(self, request: jobs_pb2.ResumeJobRequest, context: Any) -> jobs_pb2.ResumeJobResponse:
        """Resume a paused job."""
        job = checked_name(request.name)
        await self._intents.announce(job, PAUSED)
        try:
            await self._control.resume(job)
        finally:
            recorded = await self._intents.record(job)
        return jobs_pb2.ResumeJobResponse(job=job_message(recorded.view, self._store))

    async def RetryFailedShards(
        self, request: jobs_pb2.RetryFailedShardsRequest, context: Any
    ) -> jobs_pb2.RetryFailedShardsResponse:
        """Give failed shards fresh attempts."""
        job = checked_name(request.name)
        await self._intents.announce(job, WITH_FAILED_SHARDS, retried=True)
        try:
            await self._control.retry(job)
        finally:
            recorded = await self._intents.record(job)
        return jobs_pb2.RetryFailedShardsResponse(job=job_message(recorded.view, self._store))

    async def DeleteJob(self, request: jobs_pb2.DeleteJobRequest, context: Any) -> jobs_pb2.DeleteJobResponse:
        """Delete a job, if need be after cancelling it; the call's deadline bounds the wait."""
        job = checked_name(request.name)
        if request.force:
            await self._ledger.cancel(job)
            await self._intents.record(job)
            while (view := await self._ledger.job(job)).state != "DELETING" and not view.terminal:
                await asyncio.sleep(WAIT_S)
        await self._control.delete(job, self._store)
        return jobs_pb2.DeleteJobResponse()


def checked_name(name: str) -> str:
    """Return the id in `jobs/{job}`.

    Raises:
        InvalidArgument: if it is no such name.
    """
    violations = Violations()
    job = violations.job_name("name", name)
    violations.check()
    return job
