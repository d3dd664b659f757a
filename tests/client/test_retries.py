"""Only what may be repeated is repeated, only where it may help, and never past the deadline."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import grpc
import pytest
from google.protobuf import any_pb2
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status
from mintage.client import AsyncClient, Client, Retries
from mintage.errors import (
    Cancelled,
    Damaged,
    InputError,
    InvalidRequest,
    NotFound,
    NotPossible,
    Overloaded,
    TimedOut,
    Unavailable,
)
from mintage.retries import Attempts
from mintage.v1 import jobs_pb2, models_pb2, verification_pb2

from tests.client.fakes import Script, Step
from tests.support.world import run

QUICK = Retries(attempts=4, first_pause_s=0.001, max_pause_s=0.002)
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def fails(code: grpc.StatusCode, *, retry_after_s: float | None = None) -> Step:
    def step(_: Any, context: grpc.ServicerContext) -> NoReturn:
        status = status_pb2.Status(code=code.value[0], message="for this test")
        if retry_after_s is not None:
            packed, delay = any_pb2.Any(), Duration()
            delay.FromMilliseconds(round(retry_after_s * 1e3))
            packed.Pack(error_details_pb2.RetryInfo(retry_delay=delay))
            status.details.append(packed)
        context.abort_with_status(rpc_status.to_status(status))
        raise AssertionError

    return step


def answers(message: Any) -> Step:
    return lambda _, __: message


MODEL = models_pb2.GetModelResponse(model=models_pb2.Model(name="models/a"))


@pytest.fixture
def script() -> Iterator[Script]:
    with Script().served() as script:
        yield script


@pytest.fixture
def client(script: Script) -> Iterator[Client]:
    with Client(script.address, retries=QUICK, timeout_s=60) as client:
        yield client


def test_unavailable_is_tried_again(script: Script, client: Client) -> None:
    script.then(fails(UNAVAILABLE), fails(UNAVAILABLE), answers(MODEL))
    assert client.model("a").name == "models/a"
    assert len(script.requests) == 3


def test_the_asynchronous_client_tries_again_too(script: Script) -> None:
    script.then(fails(UNAVAILABLE), fails(EXHAUSTED, retry_after_s=0.001), answers(MODEL))

    async def test() -> None:
        async with AsyncClient(script.address, retries=QUICK) as client:
            assert (await client.model("a")).name == "models/a"

    run(test())


def test_a_call_that_a_server_dropped_while_it_shut_down_is_tried_again(script: Script, client: Client) -> None:
    def drops(_: Any, context: grpc.ServicerContext) -> NoReturn:
        context.cancel()
        raise AssertionError

    script.then(drops, answers(MODEL))
    assert client.model("a").name == "models/a"


def test_a_call_that_was_cancelled_is_not_tried_again(script: Script, client: Client) -> None:
    script.then(fails(grpc.StatusCode.CANCELLED))
    with pytest.raises(Cancelled, match="for this test"):
        client.model("a")
    assert len(script.requests) == 1


def test_overload_is_tried_again_no_sooner_than_the_server_says(script: Script, client: Client) -> None:
    script.then(fails(EXHAUSTED, retry_after_s=0.15), answers(MODEL))
    start = time.monotonic()
    client.model("a")
    assert time.monotonic() - start >= 0.15


def test_overload_without_a_time_is_final(script: Script, client: Client) -> None:
    script.then(fails(EXHAUSTED))
    with pytest.raises(Overloaded):
        client.model("a")


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, InvalidRequest),
        (grpc.StatusCode.FAILED_PRECONDITION, NotPossible),
        (grpc.StatusCode.DEADLINE_EXCEEDED, TimedOut),
    ],
)
def test_what_cannot_help_is_not_tried_again(
    script: Script, client: Client, code: grpc.StatusCode, error: type[Exception]
) -> None:
    script.then(fails(code))
    with pytest.raises(error):
        client.model("a")
    assert len(script.requests) == 1


def test_what_may_not_be_repeated_is_not(script: Script, client: Client) -> None:
    script.then(fails(UNAVAILABLE))
    with pytest.raises(Unavailable):
        client.unload_model("a")
    assert len(script.requests) == 1


def test_attempts_come_to_an_end(script: Script, client: Client) -> None:
    script.then(*[fails(UNAVAILABLE)] * 4)
    with pytest.raises(Unavailable):
        client.model("a")
    assert len(script.requests) == 4


def test_no_pause_reaches_past_the_deadline(script: Script) -> None:
    script.then(fails(EXHAUSTED, retry_after_s=90))
    with Client(script.address, timeout_s=60) as client, pytest.raises(Overloaded):  # not TimedOut, at the deadline
        client.model("a")


def test_a_call_that_hangs_ends_with_its_deadline(script: Script) -> None:
    def hangs(_: Any, context: grpc.ServicerContext) -> Any:
        while context.is_active():
            time.sleep(0.01)
        return MODEL

    script.then(hangs)
    with Client(script.address, timeout_s=0.1) as client, pytest.raises(TimedOut):
        client.model("a")


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


def test_a_client_says_who_it_is_if_it_has_a_name(script: Script) -> None:
    names: list[str] = []

    def note(_: Any, context: grpc.ServicerContext) -> models_pb2.GetModelResponse:
        names.append(dict(context.invocation_metadata()).get("mintage-client", ""))
        return MODEL

    script.then(note, note, note)
    with Client(script.address, name="ci@lab-1") as client:
        client.model("a")
    with Client(script.address) as client:
        client.model("a")

    async def test() -> None:
        async with AsyncClient(script.address, name="other") as client:
            await client.model("a")

    run(test())
    assert names == ["ci@lab-1", "", "other"]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize("name", ["a b", "ä", "x" * 65, "a\n"])
def test_a_name_that_the_server_would_not_take_is_refused_at_once(kind: Any, name: str) -> None:
    with pytest.raises(InputError):
        kind("127.0.0.1:1", name=name)


def test_a_watch_of_nothing_fails(script: Script, client: Client) -> None:
    script.then(fails(grpc.StatusCode.INVALID_ARGUMENT))
    with pytest.raises(InvalidRequest):
        list(client.watch("a"))


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


def shard_of(*data: bytes) -> Step:
    """Answer with a header for b"abcde", then with these parts."""

    def step(request: Any, context: grpc.ServicerContext) -> Iterator[jobs_pb2.ReadShardResponse]:
        digest = hashlib.sha256(b"abcde").hexdigest()
        yield jobs_pb2.ReadShardResponse(header=jobs_pb2.ShardHeader(digest=digest, size_bytes=5))
        for part in data:
            yield jobs_pb2.ReadShardResponse(data=part)

    return step


def test_a_shard_is_read_piece_by_piece_and_checked(script: Script, client: Client) -> None:
    script.then(shard_of(b"abc", b"de"), shard_of(b"abc"), shard_of(b"abcdx"), fails(grpc.StatusCode.NOT_FOUND))
    assert b"".join(client.read_shard("a", 3)) == b"abcde"
    assert (script.requests[0].name, script.requests[0].index) == ("jobs/a", 3)
    for _ in range(2):
        with pytest.raises(Damaged):
            list(client.read_shard("a", 3))
    with pytest.raises(NotFound):
        list(client.read_shard("a", 3))


def test_a_shard_is_read_with_asyncio_too(script: Script) -> None:
    async def test() -> None:
        script.then(shard_of(b"abc", b"de"), shard_of(b"x"))
        async with AsyncClient(script.address) as client:
            assert b"".join([part async for part in client.read_shard("a", 3)]) == b"abcde"
            with pytest.raises(Damaged):
                _ = [part async for part in client.read_shard("a", 3)]

    run(test())


def file_of(*data: bytes, digest: bool = True) -> Step:
    """Answer with a size, these parts, and the digest of b"abcde"."""

    def step(request: Any, context: grpc.ServicerContext) -> Iterator[jobs_pb2.ReadJobFileResponse]:
        yield jobs_pb2.ReadJobFileResponse(file=jobs_pb2.JobFile(name="a.json", size_bytes=5))
        for part in data:
            yield jobs_pb2.ReadJobFileResponse(data=part)
        if digest:
            yield jobs_pb2.ReadJobFileResponse(digest=hashlib.sha256(b"abcde").hexdigest())

    return step


def test_another_file_is_read_and_checked_too(script: Script, client: Client) -> None:
    listed = jobs_pb2.ListJobFilesResponse(files=[jobs_pb2.JobFile(name="a.json", size_bytes=5)])
    script.then(answers(listed), file_of(b"abc", b"de"), file_of(b"abc", b"dx"), file_of(b"abcde", digest=False))
    assert client.files("a") == list(listed.files)
    assert b"".join(client.read_file("a", "a.json")) == b"abcde"
    assert (script.requests[1].name, script.requests[1].file_name) == ("jobs/a", "a.json")
    for _ in range(2):
        with pytest.raises(Damaged):
            list(client.read_file("a", "a.json"))


def test_another_file_is_read_with_asyncio_too(script: Script) -> None:
    async def test() -> None:
        script.then(answers(jobs_pb2.ListJobFilesResponse()), file_of(b"abcde"), file_of())
        async with AsyncClient(script.address) as client:
            assert await client.files("a") == []
            assert b"".join([part async for part in client.read_file("a", "a.json")]) == b"abcde"
            with pytest.raises(Damaged):
                _ = [part async for part in client.read_file("a", "a.json")]

    run(test())


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


def test_pauses_grow_and_differ() -> None:
    def pauses() -> list[float]:
        attempts = Attempts(Retries(attempts=9, max_pause_s=1.0), repeatable=True, timeout_s=None)
        return [attempts.pause_after(Unavailable("", code=UNAVAILABLE)) for _ in range(8)]

    first, second = pauses(), pauses()
    assert first != second
    assert 0.05 <= first[0] <= 0.1
    assert 0.5 <= first[7] <= 1.0


def test_no_time_remains_after_the_deadline() -> None:
    with pytest.raises(TimedOut):
        Attempts(Retries(), repeatable=True, timeout_s=0.0).remaining_s()


def total_pause_s(attempts: Attempts) -> float:
    waited_s = 0.0
    with pytest.raises(Unavailable):
        while True:
            waited_s += attempts.pause_after(Unavailable("gone", code=UNAVAILABLE))
    return waited_s


def test_a_stream_that_has_said_something_is_asked_for_again_for_as_long_as_a_server_needs_to_restart() -> None:
    attempts = Attempts(Retries(), repeatable=True, timeout_s=None)
    attempts.succeeded()
    assert 15 < total_pause_s(attempts) < 60


def test_a_call_to_a_server_that_has_answered_before_covers_its_restart() -> None:
    again = Attempts(Retries(), repeatable=True, timeout_s=None, had_an_answer=True)
    assert 15 < total_pause_s(again) < 60
    assert 7 < total_pause_s(Attempts(Retries(), repeatable=True, timeout_s=None)) < 17


def test_no_more_than_one_attempt_is_made_where_none_more_is_wanted() -> None:
    attempts = Attempts(Retries(attempts=1), repeatable=True, timeout_s=None, had_an_answer=True)
    assert total_pause_s(attempts) == 0
