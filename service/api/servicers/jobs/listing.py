"""Looking jobs up: one job, pages of jobs, pages of a job's shards."""

from __future__ import annotations

import re

from mintage.v1 import jobs_pb2

from service.api.requests.pagination import page_size, page_start, page_token
from service.api.servicers.jobs.messages import job_message, shard_message, whole_job_message
from service.api.servicers.jobs.requests import check_labels, checked_name
from service.errors import NotFound
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.queries import JobFilter, page, shard_page
from service.jobs.storage.store import Store
from service.validation import JOB_NAME, Violations

JOB_PAGE = 50  # jobs of a page; a job's message is some times as large as a shard's
SHARD_NUMBER = re.compile(r"shards/([0-9]{1,9})", re.ASCII)


class JobListing:
    """Shows jobs and shards as the ledger has them."""

    def __init__(self, ledger: Ledger, store: Store) -> None:
        self._ledger = ledger
        self._store = store

    async def get_job(self, request: jobs_pb2.GetJobRequest) -> jobs_pb2.GetJobResponse:
        """Show one job."""
        try:
            view = await self._ledger.find(checked_name(request.name))
        except NotFound:
            await self._ledger.check_indexed()
            raise
        return jobs_pb2.GetJobResponse(job=whole_job_message(view, self._store))

    async def list_jobs(self, request: jobs_pb2.ListJobsRequest) -> jobs_pb2.ListJobsResponse:
        """Show a page of the jobs that match a filter."""
        violations = Violations()
        size = page_size(request.page_size, violations, default=JOB_PAGE)
        after = page_start(request.page_token, JOB_NAME, violations)
        job_filter = _job_filter(request, violations)
        violations.check()
        await self._ledger.check_indexed()
        views, last = await page(self._ledger, job_filter, after=after, size=size)
        return jobs_pb2.ListJobsResponse(
            jobs=[job_message(view, self._store) for view in views],
            next_page_token=page_token(f"jobs/{last}") if last else "",
        )

    async def list_shards(self, request: jobs_pb2.ListShardsRequest) -> jobs_pb2.ListShardsResponse:
        """Show a page of a job's shards."""
        violations = Violations()
        job = violations.job_name("name", request.name)
        size = page_size(request.page_size, violations)
        first = int(page_start(request.page_token, SHARD_NUMBER, violations) or 0)
        if not set(request.states) <= set(jobs_pb2.Shard.State.values()):
            violations.add("states", "names a state that no shard has")
        violations.check()
        plan = (await self._ledger.job(job)).plan
        states = {jobs_pb2.Shard.State.Name(state).removeprefix("STATE_") for state in request.states}
        shards, last = await shard_page(self._ledger, job, states, first=first, size=size)
        return jobs_pb2.ListShardsResponse(
            shards=[shard_message(plan, shard) for shard in shards],
            next_page_token=page_token(f"shards/{last}") if first < last < plan.shards else "",
        )


def _job_filter(request: jobs_pb2.ListJobsRequest, violations: Violations) -> JobFilter:
    """Check which jobs are asked for.

    Raises:
        InvalidArgument: naming every wrong field so far.
    """
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
