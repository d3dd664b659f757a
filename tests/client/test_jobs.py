"""The calls about jobs, of both clients."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from mintage.client import AsyncClient, Client
from mintage.errors import InputError, NotPossible, Unavailable
from mintage.v1 import jobs_pb2, verification_pb2

from tests.client.answers import UNAVAILABLE, answers, fails
from tests.client.fakes import Script
from tests.support.world import run


def test_a_repeated_creation_carries_the_same_request_id(script: Script, client: Client) -> None:
    made = jobs_pb2.CreateSampleJobResponse(job=jobs_pb2.Job(name="jobs/a"))
    script.then(fails(UNAVAILABLE), answers(made), answers(made), answers(made))
    assert client.create_sample_job("digits", 10, seed=2**64 - 1, shard_size=5).name == "jobs/a"
    client.create_sample_job("digits", 10)
    client.create_sample_job("digits", 10, request_id="mine")
    ids = [request.request_id for request in script.requests]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert ids[3] == "mine"
    assert script.requests[0].model == "models/digits"
    assert script.requests[0].seed == 2**64 - 1


def test_jobs_are_created_and_listed_as_asked_by_both_clients(script: Script, client: Client) -> None:
    made = jobs_pb2.CreateSampleJobResponse(job=jobs_pb2.Job(name="jobs/a"))
    options: dict[str, Any] = {"labels": {"a": "b"}, "ttl_s": 1.5, "max_failed_shards": 0}
    wanted: dict[str, Any] = {"labels": {"a": "b"}, "kind": jobs_pb2.Job.KIND_SAMPLE, "client": "lab"}
    script.then(*[answers(made), answers(jobs_pb2.ListJobsResponse())] * 2, answers(made))

    async def asynchronous() -> None:
        async with AsyncClient(script.address) as other:
            await other.create_sample_job("digits", 10, **options, request_id="r")
            assert [job async for job in other.jobs(**wanted)] == []
            await other.create_sample_job("digits", 10)

    client.create_sample_job("digits", 10, **options, request_id="r")
    assert list(client.jobs(**wanted)) == []
    run(asynchronous())
    create, listing, *again, plain = script.requests
    assert [create, listing] == again
    assert (dict(create.labels), create.ttl.ToMilliseconds(), create.max_failed_shards) == ({"a": "b"}, 1500, 0)
    assert (dict(listing.labels), listing.kind, listing.client) == ({"a": "b"}, jobs_pb2.Job.KIND_SAMPLE, "lab")
    assert not plain.HasField("ttl") and not plain.HasField("max_failed_shards")
    with pytest.raises(InputError):
        client.create_sample_job("digits", 10, ttl_s=float("nan"))


def test_jobs_and_shards_are_fetched_page_by_page_as_they_are_asked_for(script: Script, client: Client) -> None:
    script.then(
        answers(jobs_pb2.ListJobsResponse(jobs=[jobs_pb2.Job(name="jobs/b")], next_page_token="t")),
        answers(jobs_pb2.ListJobsResponse(jobs=[jobs_pb2.Job(name="jobs/a")])),
        answers(jobs_pb2.ListShardsResponse(shards=[jobs_pb2.Shard(index=0)], next_page_token="u")),
        answers(jobs_pb2.ListShardsResponse(shards=[jobs_pb2.Shard(index=1)])),
    )
    jobs = client.jobs()
    assert next(jobs).name == "jobs/b"
    assert len(script.requests) == 1
    assert [job.name for job in jobs] == ["jobs/a"]
    assert [request.page_token for request in script.requests] == ["", "t"]
    assert [shard.index for shard in client.shards("a")] == [0, 1]
    assert script.requests[-1].name == "jobs/a"


def test_the_remaining_calls_of_jobs(script: Script, client: Client) -> None:
    job = jobs_pb2.Job(name="jobs/a")
    script.then(
        answers(jobs_pb2.CreateScoreJobResponse(job=job)),
        answers(jobs_pb2.GetJobResponse(job=job)),
        answers(jobs_pb2.CancelJobResponse(job=job)),
    )
    assert client.create_score_job("judge", "a", splits=3) == client.job("a") == client.cancel("jobs/a").job == job
    assert (script.requests[0].source_job, script.requests[0].splits) == ("jobs/a", 3)


def test_jobs_are_steered(script: Script, client: Client) -> None:
    job = jobs_pb2.Job(name="jobs/a")
    script.then(
        answers(jobs_pb2.PauseJobResponse(job=job, durable=True)),
        answers(jobs_pb2.ResumeJobResponse(job=job)),
        fails(UNAVAILABLE),
        answers(jobs_pb2.RetryFailedShardsResponse(job=job)),
    )
    assert client.pause("a").durable
    assert client.resume("jobs/a") == client.retry("a") == job
    assert {request.name for request in script.requests} == {"jobs/a"}


def test_a_job_is_deleted_once(script: Script, client: Client) -> None:
    script.then(answers(jobs_pb2.DeleteJobResponse()), fails(UNAVAILABLE))
    client.delete("a", force=True)
    assert (script.requests[0].name, script.requests[0].force) == ("jobs/a", True)
    with pytest.raises(Unavailable):
        client.delete("a")
    assert len(script.requests) == 2


def verified(request: Any, context: grpc.ServicerContext) -> Iterator[verification_pb2.VerifyJobResponse]:
    """Answer with progress, then with a verdict."""
    yield verification_pb2.VerifyJobResponse(progress=verification_pb2.VerificationProgress(shards_checked=1))
    yield verification_pb2.VerifyJobResponse(verdict=verification_pb2.Verdict(sound=True))


def test_a_job_is_verified_by_both_clients(script: Script, client: Client) -> None:
    async def with_asyncio() -> bool:
        async with AsyncClient(script.address) as other:
            return [part async for part in other.verify("jobs/a", recompute=3, seed=2**64 - 1)][-1].verdict.sound

    script.then(verified, verified, fails(grpc.StatusCode.FAILED_PRECONDITION))
    assert list(client.verify("a"))[-1].verdict.sound
    assert run(with_asyncio())
    sent = script.requests[1]
    assert (sent.name, sent.recompute_count, sent.recompute_seed) == ("jobs/a", 3, 2**64 - 1)
    with pytest.raises(NotPossible):
        list(client.verify("a"))
