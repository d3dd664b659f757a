"""JobService: bulk work, accepted durably, listed and watched; `job_control` steers it."""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.metadata
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from mintage.v1 import jobs_pb2

from service.api.requests.clients import client_of
from service.api.requests.pagination import page_token, token_value
from service.api.servicers.jobs.control import checked_name
from service.api.servicers.jobs.messages import job_message, shard_message, unmade_job_message
from service.api.servicers.jobs.requests import (
    FORMATS,
    RESERVED_PREFIX,
    Creation,
    check_common,
    check_labels,
    job_options,
)
from service.api.servicers.jobs.score_plans import folder_draft, listed, score_plan
from service.api.servicers.jobs.score_requests import checked_score, parameters
from service.api.servicers.jobs.verification import JobVerificationServicer
from service.api.servicers.jobs.watch import seen_before
from service.errors import Unavailable
from service.jobs.ledger.queries import JobFilter, page, shard_page
from service.jobs.ledger.views import JobView
from service.jobs.plan import (
    MAX_COUNT,
    MAX_SHARD_SIZE,
    MAX_SHARDS,
    Plan,
    Sampling,
    default_shard_size,
    request_digest,
)
from service.jobs.submission.reservations import Quotas, Reservations
from service.jobs.submission.submit import Draft, rehearse, submit
from service.models.registry import ModelRecord
from service.validation import Violations

MAX_RATE, MIN_RATE = 1_000_000, 0.001
JOB_PAGE, SHARD_PAGE, LARGEST_PAGE = 50, 100, 1000
WATCH_S = 0.15


class JobServicer(JobVerificationServicer):
    """Answers JobService."""

    async def CreateSampleJob(
        self, request: jobs_pb2.CreateSampleJobRequest, context: Any
    ) -> jobs_pb2.CreateSampleJobResponse:
        """Accept a sample job."""
        model = _checked_sample(request)
        digest = request_digest(
            {
                "kind": "sample",
                "model": model,
                "seed": request.seed,
                "count": request.count,
                "shard_size": request.shard_size,
                "output_prefix": request.output_prefix,
                "max_images_per_second": request.max_images_per_second,
                **({} if request.format == jobs_pb2.OUTPUT_FORMAT_WEBDATASET else {"format": request.format}),
                **job_options(request),
            }
        )

        async def make_draft(job: str) -> Draft:
            return Draft(_sample_plan(request, job, digest, self._registry.find(model, "generator")))

        return jobs_pb2.CreateSampleJobResponse(job=await self._submit(make_draft, request, digest, context))

    async def CreateScoreJob(
        self, request: jobs_pb2.CreateScoreJobRequest, context: Any
    ) -> jobs_pb2.CreateScoreJobResponse:
        """Accept a score job."""
        asked = checked_score(request)
        digest = request_digest(parameters(request, asked))

        async def make_draft(job: str) -> Draft:
            record = self._registry.find(asked.model)
            reference = await self._ledger.job(asked.reference) if asked.reference else None
            identity = _identity(request, job, digest, record)
            if asked.folder:
                timeout_s = context.time_remaining() if context else None
                listing = await listed(self._settings.inputs, asked.folder, timeout_s=timeout_s)
                return folder_draft(request, identity, record, listing, reference)
            source = await self._ledger.job(asked.source)
            return Draft(score_plan(request, identity, record, source, reference))

        return jobs_pb2.CreateScoreJobResponse(job=await self._submit(make_draft, request, digest, context))

    async def GetJob(self, request: jobs_pb2.GetJobRequest, context: Any) -> jobs_pb2.GetJobResponse:
        """Get one job."""
        return jobs_pb2.GetJobResponse(job=self._message(await self._ledger.job(checked_name(request.name))))

    async def ListJobs(self, request: jobs_pb2.ListJobsRequest, context: Any) -> jobs_pb2.ListJobsResponse:
        """List jobs."""
        violations = Violations()
        size = _page_size(request.page_size, JOB_PAGE, violations)
        after = token_value("job", request.page_token, violations)
        wanted = _wanted(request, violations)
        violations.check()
        views, last = await page(self._ledger, wanted, after=after, size=size)
        token = page_token("job", last) if last else ""
        return jobs_pb2.ListJobsResponse(jobs=[self._message(view) for view in views], next_page_token=token)

    async def WatchJob(
        self, request: jobs_pb2.WatchJobRequest, context: Any
    ) -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        """Stream a job until it has ended."""
        violations = Violations()
        job = violations.job_name("name", request.name)
        seen = seen_before(job, request.resume_token, violations)
        violations.check()
        while True:
            view = await self._ledger.job(job)
            if seen.is_news(view):
                shown = seen.raised(view)
                seen = seen.after(shown)
                yield jobs_pb2.WatchJobResponse(job=self._message(shown), resume_token=seen.token())
            if view.terminal:
                return
            while await self._ledger.revision(job) == view.revision:
                await asyncio.sleep(WATCH_S)

    async def ListShards(self, request: jobs_pb2.ListShardsRequest, context: Any) -> jobs_pb2.ListShardsResponse:
        """List the shards of a job."""
        violations = Violations()
        job = violations.job_name("name", request.name)
        size = _page_size(request.page_size, SHARD_PAGE, violations)
        first = int(token_value("shard", request.page_token, violations) or 0)
        if not set(request.states) <= set(jobs_pb2.Shard.State.values()):
            violations.add("states", "names a state that no shard has")
        violations.check()
        plan = (await self._ledger.job(job)).plan
        states = {jobs_pb2.Shard.State.Name(state).removeprefix("STATE_") for state in request.states}
        shards, last = await shard_page(self._ledger, job, states, first=first, size=size)
        return jobs_pb2.ListShardsResponse(
            shards=[shard_message(plan, shard) for shard in shards],
            next_page_token=page_token("shard", str(last)) if first < last < plan.shards else "",
        )

    async def _submit(
        self,
        make_draft: Callable[[str], Awaitable[Draft]],
        request: Creation,
        digest: str,
        context: Any,
    ) -> jobs_pb2.Job:
        """Create the job, or find out what it would be."""

        async def signed(job: str) -> Draft:
            draft = await make_draft(job)
            ttl_ms = draft.plan.ttl_ms or round(self._settings.job_ttl_s * 1000)
            plan = dataclasses.replace(draft.plan, client=client_of(context), ttl_ms=ttl_ms)
            return dataclasses.replace(draft, plan=plan)

        reservations = Reservations(self._ledger, Quotas.from_settings(self._settings))
        parts = (self._ledger, reservations, self._store, signed)
        if request.validate_only:
            view = await rehearse(*parts, request_id=request.request_id, digest=digest)
        else:
            view = await submit(*parts, request_id=request.request_id, digest=digest, confirm=self._confirm)
        return self._message(view) if view.revision else unmade_job_message(view, self._store)

    def _confirm(self, plan: Plan) -> None:
        """Refuse a plan whose model was replaced a moment ago, before the plan pinned it.

        Raises:
            Unavailable: if it was; the same request may be made again at once.
        """
        if self._registry.find(plan.model).digest != plan.model_digest:
            raise Unavailable(f"models/{plan.model} was replaced at this moment; try again", reason="MODEL_REPLACED")

    def _message(self, view: JobView) -> jobs_pb2.Job:
        return job_message(view, self._store)


def _checked_sample(request: jobs_pb2.CreateSampleJobRequest) -> str:
    """Check every field, complete those that are 0; returns the model's name."""
    violations = Violations()
    model = violations.model_name("model", request.model)
    violations.in_range("count", request.count, 1, MAX_COUNT)
    violations.in_range("shard_size", request.shard_size, 0, MAX_SHARD_SIZE)
    request.shard_size = request.shard_size or default_shard_size(request.count)
    least = -(-request.count // MAX_SHARDS)
    if request.count <= MAX_COUNT and 1 <= request.shard_size < least:
        violations.add("shard_size", f"must be at least {least:,} for at most {MAX_SHARDS:,} shards")
    rate = request.max_images_per_second
    if rate and not MIN_RATE <= rate <= MAX_RATE:
        violations.add("max_images_per_second", f"must be 0 or from {MIN_RATE} to {MAX_RATE:,}, not {rate:,}")
    request.max_images_per_second = rate or 0.0
    request.format = request.format or jobs_pb2.OUTPUT_FORMAT_WEBDATASET
    if request.format not in FORMATS:
        violations.add("format", f"must be a format that this server knows, not {request.format}")
    check_common(request, violations)
    violations.check()
    return model


def _sample_plan(request: jobs_pb2.CreateSampleJobRequest, job: str, digest: str, record: ModelRecord) -> Plan:
    return Plan(
        **_identity(request, job, digest, record),
        height=record.height,
        width=record.width,
        channels=record.channels,
        count=request.count,
        shard_size=request.shard_size,
        format=FORMATS[request.format],
        sampling=Sampling(seed=request.seed, max_images_per_second=request.max_images_per_second),
    )


def _identity(
    request: Creation,
    job: str,
    digest: str,
    record: ModelRecord,
) -> dict[str, Any]:
    """What both kinds of plan say of the job and its model."""
    return {
        "job": job,
        "prefix": request.output_prefix or f"{RESERVED_PREFIX}/{job}",
        "create_time_ms": time.time_ns() // 1_000_000,
        "request_id": request.request_id,
        "request_digest": digest,
        "model": record.name,
        "model_digest": record.digest,
        "backend_name": record.backend_name,
        "device_class": record.device_class,
        "torch_version": record.torch_version,
        "mintage_version": importlib.metadata.version("mintage"),
        "micro_batch": record.micro_batch,
        **job_options(request),
    }


def _wanted(request: jobs_pb2.ListJobsRequest, violations: Violations) -> JobFilter:
    """Check what jobs are asked for."""
    check_labels(request.labels, violations)
    kinds, states = jobs_pb2.Job.Kind.values(), jobs_pb2.Job.State.values()
    if request.kind not in kinds:
        violations.add("kind", f"must be a kind that this server knows, not {request.kind}")
    if not set(request.states) <= set(states):
        violations.add("states", f"must be states that this server knows, not {sorted({*request.states} - {*states})}")
    violations.check()
    return JobFilter(
        states=frozenset(jobs_pb2.Job.State.Name(state).removeprefix("STATE_") for state in request.states),
        kind=jobs_pb2.Job.Kind.Name(request.kind).removeprefix("KIND_").lower() if request.kind else "",
        client=request.client,
        labels=dict(request.labels),
    )


def _page_size(size: int, default: int, violations: Violations) -> int:
    if size < 0:
        violations.add("page_size", f"must not be negative, as {size:,} is")
    return min(size or default, LARGEST_PAGE)
