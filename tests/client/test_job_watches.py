"""A watch of a job goes on over restarts of the server until the job has ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from mintage.client import AsyncClient, Client
from mintage.errors import InvalidRequest
from mintage.v1 import jobs_pb2

from tests.client.answers import QUICK, UNAVAILABLE, fails
from tests.client.fakes import Script, Step
from tests.support.world import run


def states(*names: str, then: Step | None = None) -> Step:
    def step(request: Any, context: grpc.ServicerContext) -> Iterator[jobs_pb2.WatchJobResponse]:
        for name in names:
            state = jobs_pb2.Job.State.Value(f"STATE_{name}")
            yield jobs_pb2.WatchJobResponse(job=jobs_pb2.Job(name="jobs/a", state=state), resume_token=f"after {name}")
        if then is not None:
            then(request, context)

    return step


def test_a_watch_goes_on_over_restarts_of_the_server_until_the_job_has_ended(script: Script, client: Client) -> None:
    script.then(
        states("QUEUED", then=fails(UNAVAILABLE)),
        states(then=fails(UNAVAILABLE)),
        states("RUNNING", "FINALIZING", "SUCCEEDED"),
    )
    seen = [jobs_pb2.Job.State.Name(job.state) for job in client.watch("a")]
    assert seen == ["STATE_QUEUED", "STATE_RUNNING", "STATE_FINALIZING", "STATE_SUCCEEDED"]
    assert [request.resume_token for request in script.requests] == ["", "after QUEUED", "after QUEUED"]


def test_the_asynchronous_watch_does_the_same(script: Script) -> None:
    script.then(states("QUEUED", then=fails(UNAVAILABLE)), states("RUNNING", "CANCELLED"))

    async def test() -> None:
        async with AsyncClient(script.address, retries=QUICK) as client:
            seen = [jobs_pb2.Job.State.Name(job.state) async for job in client.watch("jobs/a")]
        assert seen == ["STATE_QUEUED", "STATE_RUNNING", "STATE_CANCELLED"]
        assert [request.resume_token for request in script.requests] == ["", "after QUEUED"]

    run(test())


def test_a_watch_of_nothing_fails(script: Script, client: Client) -> None:
    script.then(fails(grpc.StatusCode.INVALID_ARGUMENT))
    with pytest.raises(InvalidRequest):
        list(client.watch("a"))
