"""google.longrunning.Operations: every job as the standard long-running operation, `operations/{job}` for `jobs/{job}`.

For clients that know only the standard service. The metadata is the Job as it is now; the response, once there is one,
is the same. A partially succeeded job has a response, whose state says so; a failed or cancelled one has an error.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import Any, get_args

from google.longrunning import operations_pb2, operations_pb2_grpc
from google.protobuf import empty_pb2
from google.rpc import code_pb2, status_pb2
from redis.asyncio import Redis

from service.api.requests.pagination import page_size, page_start, page_token
from service.api.servicers.jobs.messages import job_message
from service.errors import Unimplemented
from service.jobs.intents import Intents
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.queries import JobFilter, page
from service.jobs.ledger.views import TERMINAL, JobState, JobView
from service.jobs.storage.store import open_store
from service.settings import Settings
from service.validation import JOB_NAME, Violations

OPERATION_NAME = re.compile(r"operations/([a-z0-9]{1,40})", re.ASCII)
DONE = re.compile(r"\s*done\s*=\s*(true|false)\s*", re.ASCII)
ROOTS = ("", "operations")
POLL_S = 0.15  # as often as WatchJob asks the ledger
ANSWER_S = 0.5  # a wait ends this long before the call's deadline, so that the answer arrives in time
_CODES = {"NO_SPACE": code_pb2.RESOURCE_EXHAUSTED}


class OperationsServicer(operations_pb2_grpc.OperationsServicer):  # type: ignore[misc] # has no types
    """Answers google.longrunning.Operations."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        self._max_deadline_s = settings.max_deadline_s
        self._store = open_store(settings)
        self._ledger = Ledger(redis)
        self._intents = Intents(self._ledger, self._store)

    async def GetOperation(self, request: operations_pb2.GetOperationRequest, context: Any) -> operations_pb2.Operation:
        """Get one job. Like all calls here, fails with INVALID_ARGUMENT or NOT_FOUND."""
        return self._operation(await self._ledger.job(_job_of(request.name)))

    async def ListOperations(
        self, request: operations_pb2.ListOperationsRequest, context: Any
    ) -> operations_pb2.ListOperationsResponse:
        """List jobs, the newest first; the only filter is `done = true` or `done = false`."""
        violations = Violations()
        if request.name not in ROOTS:
            violations.add("name", "must be 'operations'")
        match = DONE.fullmatch(request.filter)
        if request.filter and match is None:
            violations.add("filter", "must be 'done = true', 'done = false' or empty")
        size = page_size(request.page_size, violations)
        after = page_start(request.page_token, JOB_NAME, violations)
        violations.check()
        views, last = await page(self._ledger, _job_filter(match), after=after, size=size)
        return operations_pb2.ListOperationsResponse(
            operations=[self._operation(view) for view in views if isinstance(view, JobView)],
            next_page_token=page_token(f"jobs/{last}") if last else "",
        )

    async def CancelOperation(self, request: operations_pb2.CancelOperationRequest, context: Any) -> empty_pb2.Empty:
        """Ask a job to stop."""
        job = _job_of(request.name)
        await self._ledger.cancel(job)
        await self._intents.record(job)
        return empty_pb2.Empty()

    async def WaitOperation(
        self, request: operations_pb2.WaitOperationRequest, context: Any
    ) -> operations_pb2.Operation:
        """Wait until a job ends, or the timeout or the call's deadline is near; answer with the job as it is then."""
        violations = Violations()
        job = violations.matches("name", request.name, OPERATION_NAME, "operations/{job}")
        if request.timeout.seconds < 0 or not 0 <= request.timeout.nanos < 1_000_000_000:
            violations.add("timeout", "must be a duration that is not negative")
        violations.check()
        limits = [self._max_deadline_s - ANSWER_S]
        if (remaining_s := context.time_remaining()) is not None:
            limits.append(remaining_s - ANSWER_S)
        if request.HasField("timeout"):
            limits.append(request.timeout.seconds + request.timeout.nanos / 1e9)
        until = time.monotonic() + min(limits)
        while not (view := await self._ledger.job(job)).terminal and time.monotonic() < until:
            while time.monotonic() < until and await self._ledger.revision(job) == view.revision:
                await asyncio.sleep(POLL_S)
        return self._operation(view)

    async def DeleteOperation(self, request: operations_pb2.DeleteOperationRequest, context: Any) -> empty_pb2.Empty:
        """Refuse: the standard means forgetting a result, but deleting a job deletes its files.

        Raises:
            Unimplemented: always.
        """
        raise Unimplemented("an operation is a job with files; delete it with mintage.v1.JobService/DeleteJob")

    def _operation(self, view: JobView) -> operations_pb2.Operation:
        operation = operations_pb2.Operation(name=f"operations/{view.plan.job}", done=view.terminal)
        message = job_message(view, self._store)
        operation.metadata.Pack(message)
        if view.state in ("SUCCEEDED", "PARTIALLY_SUCCEEDED"):
            operation.response.Pack(message)
        elif view.state == "CANCELLED":
            operation.error.CopyFrom(status_pb2.Status(code=code_pb2.CANCELLED, message="the job was cancelled"))
        elif view.terminal:
            code = _CODES.get(view.error.partition(":")[0], code_pb2.ABORTED)
            operation.error.CopyFrom(status_pb2.Status(code=code, message=view.error))
        return operation


def _job_filter(done: re.Match[str] | None) -> JobFilter:
    if done is None:
        return JobFilter()
    return JobFilter(states=TERMINAL if done[1] == "true" else frozenset(get_args(JobState)) - TERMINAL)


def _job_of(name: str) -> str:
    violations = Violations()
    job = violations.matches("name", name, OPERATION_NAME, "operations/{job}")
    violations.check()
    return job
