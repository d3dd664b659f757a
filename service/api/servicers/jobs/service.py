"""JobService: durable bulk work. One class per group of calls does the work; `JobServicer` hands each call on."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from mintage.v1 import jobs_pb2, jobs_pb2_grpc, repair_pb2, verification_pb2
from redis.asyncio import Redis

from service.api.servicers.jobs.control import JobControl
from service.api.servicers.jobs.creating.creation import JobCreation
from service.api.servicers.jobs.files import JobFiles
from service.api.servicers.jobs.listing import JobListing
from service.api.servicers.jobs.repair import JobRepair
from service.api.servicers.jobs.verification import JobVerification
from service.api.servicers.jobs.watch import JobWatch
from service.jobs.ledger.ledger import Ledger
from service.jobs.storage.store import open_store
from service.models.asking.inference import ImageGenerator
from service.models.registry import Registry
from service.settings import Settings


class JobServicer(jobs_pb2_grpc.JobServiceServicer):
    """Answers JobService, in the order of the contract."""

    def __init__(self, settings: Settings, redis: Redis, registry: Registry, generator: ImageGenerator) -> None:
        ledger, store = Ledger(redis), open_store(settings)
        self._creation = JobCreation(settings, ledger, store, registry)
        self._listing = JobListing(ledger, store)
        self._watch = JobWatch(ledger, store)
        self._control = JobControl(ledger, store, settings.inputs)
        self._files = JobFiles(ledger, store)
        self._repair = JobRepair(ledger, store, registry, settings.inputs)
        self._verification = JobVerification(
            ledger,
            store,
            registry,
            generator,
            timeout_s=settings.max_deadline_s,
            retry_budget_s=settings.backend_retry_s,
        )

    async def CreateSampleJob(
        self, request: jobs_pb2.CreateSampleJobRequest, context: Any
    ) -> jobs_pb2.CreateSampleJobResponse:
        """Accept a sample job."""
        return await self._creation.create_sample_job(request, context)

    async def CreateScoreJob(
        self, request: jobs_pb2.CreateScoreJobRequest, context: Any
    ) -> jobs_pb2.CreateScoreJobResponse:
        """Accept a score job."""
        return await self._creation.create_score_job(request, context)

    async def GetJob(self, request: jobs_pb2.GetJobRequest, context: Any) -> jobs_pb2.GetJobResponse:
        """Get one job."""
        return await self._listing.get_job(request)

    async def ListJobs(self, request: jobs_pb2.ListJobsRequest, context: Any) -> jobs_pb2.ListJobsResponse:
        """List jobs."""
        return await self._listing.list_jobs(request)

    def WatchJob(self, request: jobs_pb2.WatchJobRequest, context: Any) -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        """Stream a job until it ends."""
        return self._watch.watch(request)

    async def CancelJob(self, request: jobs_pb2.CancelJobRequest, context: Any) -> jobs_pb2.CancelJobResponse:
        """Cancel a job."""
        return await self._control.cancel(request)

    async def PauseJob(self, request: jobs_pb2.PauseJobRequest, context: Any) -> jobs_pb2.PauseJobResponse:
        """Pause a job."""
        return await self._control.pause(request)

    async def ResumeJob(self, request: jobs_pb2.ResumeJobRequest, context: Any) -> jobs_pb2.ResumeJobResponse:
        """Resume a paused job."""
        return await self._control.resume(request)

    async def RetryFailedShards(
        self, request: jobs_pb2.RetryFailedShardsRequest, context: Any
    ) -> jobs_pb2.RetryFailedShardsResponse:
        """Give failed shards fresh attempts."""
        return await self._control.retry(request)

    async def DeleteJob(self, request: jobs_pb2.DeleteJobRequest, context: Any) -> jobs_pb2.DeleteJobResponse:
        """Delete a job."""
        return await self._control.delete(request)

    def ReadShard(self, request: jobs_pb2.ReadShardRequest, context: Any) -> AsyncIterator[jobs_pb2.ReadShardResponse]:
        """Stream the file of a finished shard."""
        return self._files.read_shard(request)

    async def ListJobFiles(self, request: jobs_pb2.ListJobFilesRequest, context: Any) -> jobs_pb2.ListJobFilesResponse:
        """List the files beside the shards."""
        return await self._files.list_files(request)

    def ReadJobFile(
        self, request: jobs_pb2.ReadJobFileRequest, context: Any
    ) -> AsyncIterator[jobs_pb2.ReadJobFileResponse]:
        """Stream one of these files."""
        return self._files.read_file(request)

    async def ListShards(self, request: jobs_pb2.ListShardsRequest, context: Any) -> jobs_pb2.ListShardsResponse:
        """List the shards of a job."""
        return await self._listing.list_shards(request)

    def VerifyJob(
        self, request: verification_pb2.VerifyJobRequest, context: Any
    ) -> AsyncIterator[verification_pb2.VerifyJobResponse]:
        """Verify a finished job."""
        return self._verification.verify(request)

    def RepairJob(
        self, request: repair_pb2.RepairJobRequest, context: Any
    ) -> AsyncIterator[repair_pb2.RepairJobResponse]:
        """Repair a finished job."""
        return self._repair.repair(request)
