"""Steering jobs: cancel, pause, resume, retry, delete."""

from __future__ import annotations

import asyncio
from pathlib import Path

from mintage.v1 import jobs_pb2

from service.api.servicers.jobs.messages import job_message
from service.api.servicers.jobs.requests import checked_name
from service.jobs.intents import Intents
from service.jobs.ledger.control import Control
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import JobState
from service.jobs.shards.formats.choice import check_encoder
from service.jobs.storage.store import Store
from service.jobs.submission.restoration import restore_plan

PAUSED: tuple[JobState, ...] = ("PAUSED",)
UNSUCCESSFUL: tuple[JobState, ...] = ("FAILED", "PARTIALLY_SUCCEEDED")
POLL_S = 0.1  # between two looks at a job that is being cancelled, which takes about one micro-batch


class JobControl:
    """Changes what becomes of jobs, and records it beside their plans."""

    def __init__(self, ledger: Ledger, store: Store, inputs: Path) -> None:
        self._ledger = ledger
        self._store = store
        self._inputs = inputs
        self._control = Control(ledger)
        self._intents = Intents(ledger, store)

    async def cancel(self, request: jobs_pb2.CancelJobRequest) -> jobs_pb2.CancelJobResponse:
        """Ask a job to stop."""
        job = checked_name(request.name)
        await self._ledger.cancel(job)
        recorded = await self._intents.record(job)
        return jobs_pb2.CancelJobResponse(job=job_message(recorded.view, self._store), durable=recorded.durable)

    async def pause(self, request: jobs_pb2.PauseJobRequest) -> jobs_pb2.PauseJobResponse:
        """Pause a job."""
        job = checked_name(request.name)
        await self._control.pause(job)
        recorded = await self._intents.record(job)
        return jobs_pb2.PauseJobResponse(job=job_message(recorded.view, self._store), durable=recorded.durable)

    async def resume(self, request: jobs_pb2.ResumeJobRequest) -> jobs_pb2.ResumeJobResponse:
        """Resume a paused job."""
        job = checked_name(request.name)
        check_encoder((await self._ledger.job(job)).plan)
        await self._intents.announce(job, PAUSED)
        try:
            await self._control.resume(job)
        finally:
            recorded = await self._intents.record(job)
        return jobs_pb2.ResumeJobResponse(job=job_message(recorded.view, self._store))

    async def retry(self, request: jobs_pb2.RetryFailedShardsRequest) -> jobs_pb2.RetryFailedShardsResponse:
        """Give failed shards fresh attempts."""
        job = checked_name(request.name)
        view = await self._ledger.job(job)
        check_encoder(view.plan)
        if view.state in UNSUCCESSFUL:
            await asyncio.to_thread(restore_plan, self._store, self._inputs, view.plan)
        await self._intents.announce(job, UNSUCCESSFUL, retried=True)
        try:
            await self._control.retry(job)
        finally:
            recorded = await self._intents.record(job)
        return jobs_pb2.RetryFailedShardsResponse(job=job_message(recorded.view, self._store))

    async def delete(self, request: jobs_pb2.DeleteJobRequest) -> jobs_pb2.DeleteJobResponse:
        """Delete a job; `force` cancels an unfinished one first, and the call's deadline bounds the wait."""
        job = checked_name(request.name)
        if request.force:
            await self._ledger.cancel(job)
            await self._intents.record(job)
            while (view := await self._ledger.job(job)).state != "DELETING" and not view.terminal:
                await asyncio.sleep(POLL_S)
        await self._control.delete(job, self._store)
        return jobs_pb2.DeleteJobResponse()
