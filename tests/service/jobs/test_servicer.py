"""JobService over a real gRPC server, with what the API puts around it, a real Valkey and a real folder."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from mintage.v1 import jobs_pb2, jobs_pb2_grpc

from service.interceptors import CallInterceptor
from service.jobs.ledger import Ledger, connect
from service.jobs.local_store import LocalStore
from service.jobs.plan import read_plan
from service.jobs.shards import publish
from service.jobs.views import Lease
from service.metrics import Metrics
from service.servicers.jobs import JobServicer
from service.settings import Settings
from tests.faults.engine import Models
from tests.service.jobs.test_shards import marker_of
from tests.valkey import Valkey, free_port

State = jobs_pb2.Job.State
Code = grpc.StatusCode
SAMPLE = {"model": "models/digits", "count": 10, "shard_size": 4, "seed": 2**64 - 1}


@dataclasses.dataclass
class Api:
    """A connection to the API, and what is behind it."""

    stub: jobs_pb2_grpc.JobServiceStub
    ledger: Ledger
    models: Models
    outputs: Path

    async def sample(self, **changes: Any) -> jobs_pb2.Job:
        """Create a sample job."""
        answer = await self.stub.CreateSampleJob(jobs_pb2.CreateSampleJobRequest(**{**SAMPLE, **changes}))
        job: jobs_pb2.Job = answer.job
        return job

    async def score(self, source: str, **changes: Any) -> jobs_pb2.Job:
        """Create a score job."""
        request = jobs_pb2.CreateScoreJobRequest(**{"model": "models/judge", "source_job": source, **changes})
        job: jobs_pb2.Job = (await self.stub.CreateScoreJob(request)).job
        return job

    async def strike_all(self, job: jobs_pb2.Job) -> None:
        """Let the ledger believe that a job was done."""
        plan = (await self.ledger.job(job.name[5:])).plan
        for shard in range(plan.shards):
            lease = await self.ledger.claim(plan.job, shard, owner=str(shard), worker="w", lease_s=60)
            assert isinstance(lease, Lease)
            await self.ledger.commit(lease, digest="d" * 64, images=len(plan.span(shard)))
        assert await self.ledger.finish(plan.job, "FINALIZING", "SUCCEEDED", root_digest="e" * 64)


@contextlib.asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[Api]:
    """Serve JobService on a free port."""
    client, models = connect(settings), Models()
    server = grpc.aio.server(interceptors=[CallInterceptor(Metrics(), max_deadline_s=30)])
    servicer = JobServicer(settings, client, models, None)  # type: ignore[arg-type]
    jobs_pb2_grpc.add_JobServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Api(jobs_pb2_grpc.JobServiceStub(channel), Ledger(client), models, Path(settings.outputs))
    finally:
        await server.stop(None)
        await client.aclose()


Use = Callable[[Callable[[Api], Coroutine[Any, Any, None]]], None]


@pytest.fixture
def with_api(tmp_path: Path, valkey: Valkey) -> Use:
    """Run a coroutine function against the API."""

    def use(act: Callable[[Api], Coroutine[Any, Any, None]]) -> None:
        settings = Settings.model_validate({"state_dir": tmp_path, "redis_url": valkey.url})

        async def run() -> None:
            async with serving(settings) as api:
                await act(api)

        asyncio.run(run())

    return use


async def refused(call: Any, code: grpc.StatusCode) -> str:
    """Await a call that must fail so; returns what it says."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() == code, caught.value.details()
    return str(caught.value.details())


async def wrong_fields(call: Any) -> list[str]:
    """Await a call whose fields are wrong; returns their names."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() == Code.INVALID_ARGUMENT, caught.value.details()
    status = rpc_status.from_call(caught.value)
    bad = error_details_pb2.BadRequest()
    assert any(detail.Unpack(bad) for detail in status.details)
    return sorted(violation.field for violation in bad.field_violations)


def test_a_job_is_durable_before_the_answer(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        assert (job.state, job.progress.images_total, job.progress.shards_total) == (State.STATE_QUEUED, 10, 3)
        assert job.sample.seed == 2**64 - 1 and job.sample.model_digest == api.models.records["digits"].digest
        plan = read_plan((Path(job.output_uri) / "plan.json").read_bytes())
        assert plan.job == job.name[5:] and plan.prefix == f"jobs/{plan.job}"
        assert not job.HasField("start_time") and job.create_time.seconds > 0

    with_api(act)


def test_every_wrong_field_is_named_at_once(with_api: Use) -> None:
    async def act(api: Api) -> None:
        everything = api.sample(
            model="digits",
            count=0,
            shard_size=-1,
            output_prefix="../x",
            request_id="a b",
            max_images_per_second=float("nan"),
        )
        expected = ["count", "max_images_per_second", "model", "output_prefix", "request_id", "shard_size"]
        assert await wrong_fields(everything) == expected
        assert await wrong_fields(api.score("x", model="", splits=1001)) == ["model", "source_job", "splits"]

    with_api(act)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("count", 100_000_001),
        ("count", -1),
        ("shard_size", 100_001),
        ("max_images_per_second", -1.0),
        ("max_images_per_second", 1e-9),
        ("max_images_per_second", float("inf")),
        ("output_prefix", "/etc"),
        ("output_prefix", "a//b"),
        ("output_prefix", "a/.hidden"),
        ("output_prefix", "a\n"),
        ("output_prefix", "a/b/c/d/e/f/g/h/i"),
        ("output_prefix", "jobs"),
        ("output_prefix", "ä"),
        ("request_id", "x" * 129),
        ("request_id", "ü"),
        ("model", "models/../x"),
        ("model", "models/A"),
    ],
)
def test_a_wrong_value_is_an_invalid_argument(with_api: Use, field: str, value: Any) -> None:
    async def act(api: Api) -> None:
        assert await wrong_fields(api.sample(**{field: value})) == [field]
        assert not api.outputs.exists()

    with_api(act)


def test_too_many_shards_are_refused_with_the_size_that_would_do(with_api: Use) -> None:
    async def act(api: Api) -> None:
        said = await refused(api.sample(count=100_000_000, shard_size=99), Code.INVALID_ARGUMENT)
        assert "at least 100 for at most 1,000,000 shards" in said
        assert (await api.sample(count=100_000_000, shard_size=100)).progress.shards_total == 1_000_000

    with_api(act)


def test_an_unknown_model_and_one_of_another_kind_are_told_apart(with_api: Use) -> None:
    async def act(api: Api) -> None:
        await refused(api.sample(model="models/nobody"), Code.NOT_FOUND)
        await refused(api.sample(model="models/judge"), Code.FAILED_PRECONDITION)
        job = await api.sample()
        await refused(api.score(job.name, model="models/digits"), Code.FAILED_PRECONDITION)
        await refused(api.score("jobs/nosuch"), Code.NOT_FOUND)

    with_api(act)


def test_the_same_request_twenty_times_at_once_is_one_job(with_api: Use) -> None:
    async def act(api: Api) -> None:
        jobs = await asyncio.gather(*(api.sample(request_id="one") for _ in range(20)))
        assert len({job.name for job in jobs}) == 1
        assert len(list(api.outputs.rglob("plan.json"))) == 1
        listed = (await api.stub.ListJobs(jobs_pb2.ListJobsRequest())).jobs
        assert [job.name for job in listed] == [jobs[0].name]

    with_api(act)


def test_a_request_id_with_other_parameters_already_exists(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample(request_id="one")
        said = await refused(api.sample(request_id="one", seed=1), Code.ALREADY_EXISTS)
        assert job.name in said
        assert (await api.sample(request_id="one", shard_size=4)).name == job.name

    with_api(act)


def test_a_request_that_failed_may_be_corrected_under_the_same_id(with_api: Use) -> None:
    async def act(api: Api) -> None:
        await refused(api.sample(request_id="one", model="models/nobody"), Code.NOT_FOUND)
        assert (await api.sample(request_id="one")).state == State.STATE_QUEUED

    with_api(act)


def test_a_known_request_is_answered_though_its_model_is_gone(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample(request_id="one")
        del api.models.records["digits"]
        assert (await api.sample(request_id="one")).name == job.name

    with_api(act)


def test_a_request_whose_server_died_after_the_plan_goes_on_with_it(with_api: Use, valkey: Valkey) -> None:
    async def act(api: Api) -> None:
        job = await api.sample(request_id="one", output_prefix="mine")
        client = valkey.client()
        client.delete(f"mintage:job:{job.name[5:]}")  # as if the ledger had never heard of it
        client.close()
        again = await api.sample(request_id="one", output_prefix="mine")
        assert (again.name, again.create_time) == (job.name, job.create_time)

    with_api(act)


def test_jobs_do_not_share_a_folder_nor_lie_in_each_others(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample(output_prefix="a/b")
        assert job.output_uri == str(api.outputs / "a/b")
        for taken in ("a/b", "a/b/c", "a/b/shards", "a"):
            said = await refused(api.sample(output_prefix=taken), Code.ALREADY_EXISTS)
            assert "choose another output_prefix" in said
        await api.sample(output_prefix="a/c")

    with_api(act)


def test_an_output_folder_that_leads_elsewhere_is_refused(with_api: Use, tmp_path: Path) -> None:
    async def act(api: Api) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        api.outputs.mkdir()
        (api.outputs / "link").symlink_to(outside)
        said = await refused(api.sample(output_prefix="link/x"), Code.FAILED_PRECONDITION)
        assert "remove it" in said and not list(outside.iterdir())

    with_api(act)


def test_a_score_job_is_cut_as_its_source_was(with_api: Use) -> None:
    async def act(api: Api) -> None:
        source = await api.sample()
        await refused(api.score(source.name), Code.FAILED_PRECONDITION)
        await api.strike_all(source)
        job = await api.score(source.name, splits=2)
        assert (job.score.source_job, job.score.splits) == (source.name, 2)
        assert (job.progress.images_total, job.progress.shards_total) == (10, 3)
        plan = (await api.ledger.job(job.name[5:])).plan
        assert plan.scoring is not None and plan.scoring.source_root_digest == "e" * 64
        assert await wrong_fields(api.score(source.name, splits=11)) == ["splits"]
        await refused(api.score(job.name), Code.FAILED_PRECONDITION)
        small = dataclasses.replace(api.models.records["judge"], height=3)
        api.models.records["judge"] = small
        assert "height" in await refused(api.score(source.name), Code.FAILED_PRECONDITION)

    with_api(act)


def test_pages_hold_every_job_once_the_newest_first(with_api: Use) -> None:
    async def act(api: Api) -> None:
        names = [(await api.sample()).name for _ in range(5)]
        seen, token, pages = [], "", 0
        while pages == 0 or token:
            page = await api.stub.ListJobs(jobs_pb2.ListJobsRequest(page_size=2, page_token=token))
            seen += [job.name for job in page.jobs]
            token, pages = page.next_page_token, pages + 1
        assert seen == sorted(names, reverse=True) and pages == 3

    with_api(act)


def test_pages_hold_every_shard_once_in_order(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        first = await api.stub.ListShards(jobs_pb2.ListShardsRequest(name=job.name, page_size=2))
        request = jobs_pb2.ListShardsRequest(name=job.name, page_size=2, page_token=first.next_page_token)
        rest = await api.stub.ListShards(request)
        shards = [*first.shards, *rest.shards]
        assert [(s.index, s.first_index, s.count) for s in shards] == [(0, 0, 4), (1, 4, 4), (2, 8, 2)]
        assert rest.next_page_token == ""
        token = await api.stub.ListShards(jobs_pb2.ListShardsRequest(name=job.name, page_token=first.next_page_token))
        assert [shard.index for shard in token.shards] == [2]

    with_api(act)


@pytest.mark.parametrize("token", ["x", "!!!", "am9iOi4uLw", "ä", "c2hhcmQ6LTE", "A" * 100_000])
def test_a_page_token_of_nobody_is_refused(with_api: Use, token: str) -> None:
    async def act(api: Api) -> None:
        listing = api.stub.ListJobs(jobs_pb2.ListJobsRequest(page_token=token, page_size=-1))
        assert await wrong_fields(listing) == ["page_size", "page_token"]
        shards = api.stub.ListShards(jobs_pb2.ListShardsRequest(name="x", page_token=token))
        assert await wrong_fields(shards) == ["name", "page_token"]

    with_api(act)


def test_what_does_not_exist_is_not_found(with_api: Use) -> None:
    async def act(api: Api) -> None:
        name = "jobs/nosuch"
        await refused(api.stub.GetJob(jobs_pb2.GetJobRequest(name=name)), Code.NOT_FOUND)
        await refused(api.stub.CancelJob(jobs_pb2.CancelJobRequest(name=name)), Code.NOT_FOUND)
        await refused(api.stub.ListShards(jobs_pb2.ListShardsRequest(name=name)), Code.NOT_FOUND)
        await refused(api.stub.WatchJob(jobs_pb2.WatchJobRequest(name=name)).read(), Code.NOT_FOUND)
        for bad in ("", "nosuch", "jobs/", "jobs/A", "jobs/a/b", "jobs/" + "a" * 41):
            assert await wrong_fields(api.stub.GetJob(jobs_pb2.GetJobRequest(name=bad))) == ["name"]

    with_api(act)


def test_watching_shows_the_state_at_once_then_changes_and_ends_with_the_job(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        stream = api.stub.WatchJob(jobs_pb2.WatchJobRequest(name=job.name))
        async with asyncio.timeout(10):
            answers = aiter(stream)
            assert (await anext(answers)).job.state == State.STATE_QUEUED
            await api.strike_all(job)
            seen = [answer.job async for answer in answers]
        assert seen[-1].state == State.STATE_SUCCEEDED and seen[-1].root_digest == "e" * 64
        done = [state.progress.images_done for state in seen]
        assert done == sorted(done)

    with_api(act)


def test_cancelling_twice_is_as_cancelling_once(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        for _ in range(2):
            answer = await api.stub.CancelJob(jobs_pb2.CancelJobRequest(name=job.name))
            assert answer.job.state == State.STATE_CANCELLING
        assert await api.ledger.finish(job.name[5:], "CANCELLING", "CANCELLED")
        answer = await api.stub.CancelJob(jobs_pb2.CancelJobRequest(name=job.name))
        assert answer.job.state == State.STATE_CANCELLED and answer.job.HasField("end_time")

    with_api(act)


def test_a_job_store_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    settings = Settings.model_validate({"state_dir": tmp_path, "redis_url": f"redis://127.0.0.1:{free_port()}/0"})

    async def act() -> None:
        async with serving(settings) as api:
            await refused(api.stub.GetJob(jobs_pb2.GetJobRequest(name="jobs/x")), Code.UNAVAILABLE)
            await refused(api.stub.WatchJob(jobs_pb2.WatchJobRequest(name="jobs/x")).read(), Code.UNAVAILABLE)

    asyncio.run(act())


async def state_after(call: Any) -> str:
    """Await a call that steers a job; returns the state that it answers with."""
    return str(State.Name((await call).job.state)).removeprefix("STATE_")


def test_a_job_is_paused_and_resumed_any_number_of_times(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        for _ in range(2):
            assert await state_after(api.stub.PauseJob(jobs_pb2.PauseJobRequest(name=job.name))) == "PAUSED"
        for _ in range(2):
            assert await state_after(api.stub.ResumeJob(jobs_pb2.ResumeJobRequest(name=job.name))) == "QUEUED"
        await api.strike_all(job)
        for call in (
            api.stub.PauseJob(jobs_pb2.PauseJobRequest(name=job.name)),
            api.stub.ResumeJob(jobs_pb2.ResumeJobRequest(name=job.name)),
            api.stub.RetryFailedShards(jobs_pb2.RetryFailedShardsRequest(name=job.name)),
        ):
            assert "is SUCCEEDED; only a" in await refused(call, Code.FAILED_PRECONDITION)

    with_api(act)


def test_a_paused_job_can_be_cancelled(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        await api.stub.PauseJob(jobs_pb2.PauseJobRequest(name=job.name))
        assert await state_after(api.stub.CancelJob(jobs_pb2.CancelJobRequest(name=job.name))) == "CANCELLING"
        assert await api.ledger.ending() == [job.name[5:]]

    with_api(act)


def test_what_does_not_exist_cannot_be_steered_or_read(with_api: Use) -> None:
    async def act(api: Api) -> None:
        name = "jobs/nosuch"
        await refused(api.stub.PauseJob(jobs_pb2.PauseJobRequest(name=name)), Code.NOT_FOUND)
        await refused(api.stub.ResumeJob(jobs_pb2.ResumeJobRequest(name=name)), Code.NOT_FOUND)
        await refused(api.stub.RetryFailedShards(jobs_pb2.RetryFailedShardsRequest(name=name)), Code.NOT_FOUND)
        await refused(api.stub.ReadShard(jobs_pb2.ReadShardRequest(name=name)).read(), Code.NOT_FOUND)

    with_api(act)


async def shard_parts(api: Api, name: str, index: int = 0) -> list[jobs_pb2.ReadShardResponse]:
    stream = api.stub.ReadShard(jobs_pb2.ReadShardRequest(name=name, index=index))
    return [part async for part in stream]


def test_a_shard_is_read_after_it_was_committed_and_not_before(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        for index in (0, 3, -1):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await shard_parts(api, job.name, index)
            assert caught.value.code() == Code.NOT_FOUND
        plan = (await api.ledger.job(job.name[5:])).plan
        output, data = LocalStore(api.outputs).output(plan.prefix), bytes(range(256)) * 10_000
        marker = marker_of(plan, 0, hashlib.sha256(data).hexdigest(), len(data))
        with output.temporary("t") as temporary:
            temporary.file.write(data)
            publish(output, plan, marker, temporary)
        await api.strike_all(job)
        header, *parts = await shard_parts(api, job.name)
        assert (header.header.digest, header.header.size_bytes) == (marker.digest, len(data))
        assert header.header.file_name == "000000.tar"
        assert b"".join(part.data for part in parts) == data and len(parts) == 3
        file = Path(job.output_uri) / "shards/000000.tar"
        file.write_bytes(data[:-1])
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await shard_parts(api, job.name)
        assert caught.value.code() == Code.FAILED_PRECONDITION and "was changed" in str(caught.value.details())

    with_api(act)


def test_a_job_says_its_priority_and_who_asked_for_it(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample(priority=-10, request_id="one")
        assert (job.priority, job.client) == (-10, "127.0.0.1")
        fields: dict[str, Any] = {**SAMPLE, "priority": 3}
        request = jobs_pb2.CreateSampleJobRequest(**fields)
        named = (await api.stub.CreateSampleJob(request, metadata=(("mintage-client", "lab-7"),))).job
        assert (named.priority, named.client) == (3, "lab-7")
        odd = (await api.stub.CreateSampleJob(request, metadata=(("mintage-client", "a b"),))).job
        assert odd.client == "127.0.0.1"
        assert await wrong_fields(api.sample(priority=11)) == ["priority"]
        await refused(api.sample(priority=1, request_id="one"), Code.ALREADY_EXISTS)

    with_api(act)


async def delete(api: Api, job: jobs_pb2.Job, *, force: bool = False) -> None:
    await api.stub.DeleteJob(jobs_pb2.DeleteJobRequest(name=job.name, force=force), timeout=10)


def test_a_job_that_has_ended_is_deleted_with_its_folder_and_request_id(with_api: Use, valkey: Valkey) -> None:
    async def act(api: Api) -> None:
        other = await api.sample(output_prefix="a/c")
        job = await api.sample(output_prefix="a/b", request_id="one")
        assert "cancel it first" in await refused(delete(api, job), Code.FAILED_PRECONDITION)
        await api.strike_all(job)
        await delete(api, job)
        await refused(delete(api, job), Code.NOT_FOUND)
        await refused(api.stub.GetJob(jobs_pb2.GetJobRequest(name=job.name)), Code.NOT_FOUND)
        assert not Path(job.output_uri).exists() and Path(other.output_uri).exists()
        with contextlib.closing(valkey.client()) as client:
            assert not [key for key in client.keys("*") if job.name[5:] in str(key) or "request:" in str(key)]
        listed = (await api.stub.ListJobs(jobs_pb2.ListJobsRequest())).jobs
        assert [each.name for each in listed] == [other.name]
        again = await api.sample(output_prefix="a/b", request_id="one", seed=1)
        assert again.name != job.name

    with_api(act)


def test_a_deletion_that_was_broken_off_goes_on_and_allows_nothing_else(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        await api.strike_all(job)
        await api.ledger.run("delete", job.name[5:])  # and then the server died
        await refused(api.stub.PauseJob(jobs_pb2.PauseJobRequest(name=job.name)), Code.FAILED_PRECONDITION)
        await refused(
            api.stub.RetryFailedShards(jobs_pb2.RetryFailedShardsRequest(name=job.name)), Code.FAILED_PRECONDITION
        )
        assert await api.ledger.claim(job.name[5:], 0, owner="o", worker="w", lease_s=60) == "stopped"
        (Path(job.output_uri) / "plan.json").unlink()
        await delete(api, job, force=True)
        assert not Path(job.output_uri).exists()

    with_api(act)


def test_a_folder_that_belongs_to_another_job_by_now_is_left_alone(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job, other = await api.sample(), await api.sample()
        await api.strike_all(job)
        plan = Path(job.output_uri) / "plan.json"
        plan.write_bytes((Path(other.output_uri) / "plan.json").read_bytes())
        await delete(api, job)
        assert plan.exists()

    with_api(act)


def test_force_cancels_and_waits_for_the_end(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        deleting = asyncio.create_task(delete(api, job, force=True))
        async with asyncio.timeout(5):
            while not await api.ledger.ending():
                await asyncio.sleep(0.01)
        await api.ledger.finish(job.name[5:], "CANCELLING", "CANCELLED")
        await deleting
        assert not Path(job.output_uri).exists()

    with_api(act)


def test_jobs_are_listed_by_state_page_by_page(with_api: Use) -> None:
    async def act(api: Api) -> None:
        jobs = [await api.sample() for _ in range(7)]
        for job in jobs[::3]:
            await api.stub.PauseJob(jobs_pb2.PauseJobRequest(name=job.name))
        seen, token, pages = [], "", 0
        while pages == 0 or token:
            request = jobs_pb2.ListJobsRequest(page_size=2, page_token=token, states=[State.STATE_PAUSED])
            page = await api.stub.ListJobs(request)
            seen += [job.name for job in page.jobs]
            token, pages = page.next_page_token, pages + 1
        assert seen == [job.name for job in reversed(jobs[::3])] and pages == 2
        everything = jobs_pb2.ListJobsRequest(states=[State.STATE_PAUSED, State.STATE_QUEUED])
        assert len((await api.stub.ListJobs(everything)).jobs) == 7
        assert not (await api.stub.ListJobs(jobs_pb2.ListJobsRequest(states=[State.STATE_FAILED]))).jobs

    with_api(act)


def test_what_is_only_validated_is_shown_and_leaves_nothing_behind(with_api: Use, valkey: Valkey) -> None:
    async def act(api: Api) -> None:
        job = await api.sample(validate_only=True, request_id="one")
        assert (job.name, job.output_uri, job.HasField("create_time")) == ("", "", False)
        assert (job.progress.shards_total, job.sample.shard_size, job.client) == (3, 4, "127.0.0.1")
        assert job.sample.model_digest == api.models.records["digits"].digest
        placed = await api.sample(validate_only=True, output_prefix="a/b")
        assert placed.output_uri == str(api.outputs / "a/b") and not api.outputs.exists()
        with contextlib.closing(valkey.client()) as client:
            assert not client.keys("mintage:*")

    with_api(act)


def test_what_would_be_refused_is_refused_when_it_is_only_validated(with_api: Use) -> None:
    async def act(api: Api) -> None:
        assert await wrong_fields(api.sample(validate_only=True, count=0)) == ["count"]
        await refused(api.sample(validate_only=True, model="models/nobody"), Code.NOT_FOUND)
        await refused(api.sample(validate_only=True, model="models/judge"), Code.FAILED_PRECONDITION)
        job = await api.sample(output_prefix="a/b", request_id="one")
        for taken in ("a/b", "a/b/c", "a"):
            await refused(api.sample(validate_only=True, output_prefix=taken), Code.ALREADY_EXISTS)
        await refused(api.sample(validate_only=True, request_id="one", seed=1), Code.ALREADY_EXISTS)
        assert (await api.sample(validate_only=True, output_prefix="a/b", request_id="one")).name == job.name
        await refused(api.score(job.name, validate_only=True), Code.FAILED_PRECONDITION)
        await api.strike_all(job)
        scored = await api.score(job.name, validate_only=True)
        assert (scored.name, scored.score.splits, scored.progress.shards_total) == ("", 10, 3)
        listed = (await api.stub.ListJobs(jobs_pb2.ListJobsRequest())).jobs
        assert [each.name for each in listed] == [job.name]

    with_api(act)
