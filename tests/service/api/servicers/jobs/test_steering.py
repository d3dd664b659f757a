"""Jobs are watched, steered, read and deleted over the API."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

from mintage.v1 import jobs_pb2

from service.jobs.plan import Sampling
from service.settings import Settings
from tests.support.job_api import Api, Code, State, Use, refused, serving, wrong_fields
from tests.support.plans import sample_plan
from tests.support.valkey import Valkey, free_port


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
        async with asyncio.timeout(60):
            answers = aiter(stream)
            assert (await anext(answers)).job.state == State.STATE_QUEUED
            await api.run_all(job)
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
        await api.run_all(job)
        for call in (
            api.stub.PauseJob(jobs_pb2.PauseJobRequest(name=job.name)),
            api.stub.ResumeJob(jobs_pb2.ResumeJobRequest(name=job.name)),
            api.stub.RetryFailedShards(jobs_pb2.RetryFailedShardsRequest(name=job.name)),
        ):
            assert "is SUCCEEDED; only a" in await refused(call, Code.FAILED_PRECONDITION)

    with_api(act)


def test_a_job_whose_images_another_encoder_makes_is_neither_resumed_nor_retried(with_api: Use) -> None:
    async def act(api: Api) -> None:
        plan = sample_plan(sampling=Sampling(seed=7, encoder="another", max_images_per_second=0.0))
        await api.ledger.create(plan)
        name = f"jobs/{plan.job}"
        calls = (
            api.stub.ResumeJob(jobs_pb2.ResumeJobRequest(name=name)),
            api.stub.RetryFailedShards(jobs_pb2.RetryFailedShardsRequest(name=name)),
        )
        for call in calls:
            assert "are encoded by another, but" in await refused(call, Code.FAILED_PRECONDITION)

    with_api(act)


def test_a_paused_job_can_be_cancelled(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        await api.stub.PauseJob(jobs_pb2.PauseJobRequest(name=job.name))
        assert await state_after(api.stub.CancelJob(jobs_pb2.CancelJobRequest(name=job.name))) == "CANCELLING"
        assert await api.ledger.ending() == [job.name[5:]]

    with_api(act)


def test_what_does_not_exist_cannot_be_steered(with_api: Use) -> None:
    async def act(api: Api) -> None:
        name = "jobs/nosuch"
        await refused(api.stub.PauseJob(jobs_pb2.PauseJobRequest(name=name)), Code.NOT_FOUND)
        await refused(api.stub.ResumeJob(jobs_pb2.ResumeJobRequest(name=name)), Code.NOT_FOUND)
        await refused(api.stub.RetryFailedShards(jobs_pb2.RetryFailedShardsRequest(name=name)), Code.NOT_FOUND)

    with_api(act)


async def delete(api: Api, job: jobs_pb2.Job, *, force: bool = False) -> None:
    await api.stub.DeleteJob(jobs_pb2.DeleteJobRequest(name=job.name, force=force), timeout=60)


def test_a_job_that_has_ended_is_deleted_with_its_folder_and_request_id(with_api: Use, valkey: Valkey) -> None:
    async def act(api: Api) -> None:
        other = await api.sample(output_prefix="a/c")
        job = await api.sample(output_prefix="a/b", request_id="one")
        assert "cancel it first" in await refused(delete(api, job), Code.FAILED_PRECONDITION)
        await api.run_all(job)
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
        await api.run_all(job)
        await api.ledger.run("delete", job.name[5:], 0)  # and then the server died
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
        await api.run_all(job)
        plan = Path(job.output_uri) / "plan.json"
        plan.write_bytes((Path(other.output_uri) / "plan.json").read_bytes())
        await delete(api, job)
        assert plan.exists()

    with_api(act)


def test_force_cancels_and_waits_for_the_end(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        deleting = asyncio.create_task(delete(api, job, force=True))
        async with asyncio.timeout(60):
            while not await api.ledger.ending():
                await asyncio.sleep(0.01)
        await api.ledger.finish(job.name[5:], "CANCELLING", "CANCELLED")
        await deleting
        assert not Path(job.output_uri).exists()

    with_api(act)
