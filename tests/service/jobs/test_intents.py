"""What was asked of a job holds also after Redis was emptied: over the real API, a real Valkey, a real folder."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from mintage.v1 import jobs_pb2

from service.jobs.dispatch.finalize import finalize
from service.jobs.dispatch.rebuild import rebuild
from service.jobs.intents import Intents
from service.jobs.ledger.scripts import PREFIX
from service.jobs.ledger.views import Lease
from service.jobs.storage.local_store import LocalStore
from tests.support.job_api import Api, Code, State, Use, refused
from tests.support.ledgers import dispatch
from tests.support.valkey import Valkey


async def after_flushall(api: Api, valkey: Valkey, job: jobs_pb2.Job) -> str:
    """The state of a job after Redis was emptied and told again."""
    with contextlib.closing(valkey.client()) as client:
        client.flushall()
    assert await rebuild(api.ledger, LocalStore(api.outputs)) >= 1
    shown = (await api.stub.GetJob(jobs_pb2.GetJobRequest(name=job.name))).job
    return str(State.Name(shown.state)).removeprefix("STATE_")


async def pause(api: Api, job: jobs_pb2.Job) -> None:
    await api.stub.PauseJob(jobs_pb2.PauseJobRequest(name=job.name))


def test_a_paused_job_stays_paused_until_it_is_resumed(with_api: Use, valkey: Valkey) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        await pause(api, job)
        assert await after_flushall(api, valkey, job) == "PAUSED"
        await pause(api, job)
        assert await after_flushall(api, valkey, job) == "PAUSED"
        await api.stub.ResumeJob(jobs_pb2.ResumeJobRequest(name=job.name))
        assert await after_flushall(api, valkey, job) == "QUEUED"

    with_api(act)


def test_a_job_that_was_being_cancelled_is_cancelled(with_api: Use, valkey: Valkey) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        await pause(api, job)
        await api.stub.CancelJob(jobs_pb2.CancelJobRequest(name=job.name))
        assert await after_flushall(api, valkey, job) == "CANCELLING"
        assert await api.ledger.ending() == [job.name[5:]]
        plan = (await api.ledger.job(job.name[5:])).plan
        finalize(LocalStore(api.outputs), plan, cancelled=True, errors={})
        assert not (Path(job.output_uri) / "intent").exists()
        assert await after_flushall(api, valkey, job) == "CANCELLED"

    with_api(act)


def test_what_cannot_be_recorded_is_done_nevertheless_and_recorded_later(with_api: Use, valkey: Valkey) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        obstacle = Path(job.output_uri) / "intent"
        obstacle.mkdir()
        answer = await api.stub.PauseJob(jobs_pb2.PauseJobRequest(name=job.name))
        assert (answer.job.state, answer.durable) == (State.STATE_PAUSED, False)
        intents = Intents(api.ledger, LocalStore(api.outputs))
        await intents.record_missed()
        assert obstacle.is_dir(), "still not recorded"
        obstacle.rmdir()
        await intents.record_missed()
        assert obstacle.read_bytes() == b"paused\n"
        assert await after_flushall(api, valkey, job) == "PAUSED"
        answer = await api.stub.CancelJob(jobs_pb2.CancelJobRequest(name=job.name))
        assert (answer.job.state, answer.durable) == (State.STATE_CANCELLING, True)

    with_api(act)


def test_what_was_missed_of_a_deleted_job_is_forgotten(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        (Path(job.output_uri) / "intent").mkdir()
        assert not (await api.stub.CancelJob(jobs_pb2.CancelJobRequest(name=job.name))).durable
        assert (await api.ledger.run("unrecorded", "list"))["jobs"] == [job.name[5:]]
        assert await api.ledger.finish(job.name[5:], "CANCELLING", "CANCELLED")
        await api.stub.DeleteJob(jobs_pb2.DeleteJobRequest(name=job.name))
        assert not (await api.ledger.run("unrecorded", "list"))["jobs"]

    with_api(act)


def test_resuming_and_retrying_change_nothing_where_that_cannot_be_recorded(with_api: Use) -> None:
    async def act(api: Api) -> None:
        paused, failed = await api.sample(), await api.sample()
        await pause(api, paused)
        await fail_one(api, failed, LocalStore(api.outputs))
        for job in (paused, failed):
            intent = Path(job.output_uri) / "intent"
            intent.unlink(missing_ok=True)
            intent.mkdir()
        await refused(api.stub.ResumeJob(jobs_pb2.ResumeJobRequest(name=paused.name)), Code.FAILED_PRECONDITION)
        request = jobs_pb2.RetryFailedShardsRequest(name=failed.name)
        await refused(api.stub.RetryFailedShards(request), Code.FAILED_PRECONDITION)
        assert (await api.ledger.job(paused.name[5:])).state == "PAUSED"
        view = await api.ledger.job(failed.name[5:])
        assert (view.state, view.round, view.shards_failed) == ("FAILED", 0, 1)

    with_api(act)


def test_a_retry_that_the_ledger_refuses_leaves_no_intent_behind(
    with_api: Use, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce = Intents.announce

    async def announce_and_lose_a_race(intents: Intents, job: str, *arguments: Any, **options: Any) -> None:
        await announce(intents, job, *arguments, **options)
        with contextlib.closing(valkey.client()) as client:
            client.hset(f"{PREFIX}job:{job}", "state", "CANCELLED")

    monkeypatch.setattr(Intents, "announce", announce_and_lose_a_race)

    async def act(api: Api) -> None:
        job = await api.sample()
        await fail_one(api, job, LocalStore(api.outputs))
        request = jobs_pb2.RetryFailedShardsRequest(name=job.name)
        await refused(api.stub.RetryFailedShards(request), Code.FAILED_PRECONDITION)
        assert not (Path(job.output_uri) / "intent").exists()

    with_api(act)


def test_a_job_whose_files_are_damaged_keeps_no_other_from_coming_back(with_api: Use, valkey: Valkey) -> None:
    async def act(api: Api) -> None:
        damaged, job = await api.sample(), await api.sample()
        (Path(damaged.output_uri) / "manifest.json").write_text('{"state": "SUCC')
        assert await after_flushall(api, valkey, job) == "QUEUED"
        assert await api.ledger.unknown([damaged.name[5:], job.name[5:]]) == [damaged.name[5:]]

    with_api(act)


async def fail_one(api: Api, job: jobs_pb2.Job, folder: LocalStore) -> None:
    """End a job of three shards, one of which failed for good."""
    name = job.name[5:]
    plan = (await api.ledger.job(name)).plan
    for shard in range(plan.shards):
        lease = await api.ledger.claim(name, shard, owner=str(shard), worker="w", lease_s=60)
        assert isinstance(lease, Lease)
        if shard:
            await api.ledger.commit(lease, digest="d" * 64, images=len(plan.span(shard)), size_bytes=100)
        else:
            await api.ledger.fail(lease, "BAD: so", max_attempts=1, pause_s=0)
    await sign_off(api, job, folder)


async def sign_off(api: Api, job: jobs_pb2.Job, folder: LocalStore) -> None:
    view = await api.ledger.job(job.name[5:])
    ending = finalize(folder, view.plan, cancelled=False, errors={0: "BAD: so"}, retry_round=view.round)
    assert await api.ledger.finish(view.plan.job, view.state, ending.state, retry_round=view.round)


def test_a_job_that_is_retried_goes_on_with_that(with_api: Use, valkey: Valkey) -> None:
    async def act(api: Api) -> None:
        job, folder = await api.sample(), LocalStore(api.outputs)
        await fail_one(api, job, folder)
        assert await after_flushall(api, valkey, job) == "FAILED"
        await api.stub.RetryFailedShards(jobs_pb2.RetryFailedShardsRequest(name=job.name))
        assert await after_flushall(api, valkey, job) == "QUEUED"
        await pause(api, job)
        assert await after_flushall(api, valkey, job) == "PAUSED"
        await api.stub.ResumeJob(jobs_pb2.ResumeJobRequest(name=job.name))
        assert await after_flushall(api, valkey, job) == "QUEUED"
        await fail_one(api, job, folder)
        assert await after_flushall(api, valkey, job) == "FAILED", "the manifest is of this round"
        assert (await api.ledger.job(job.name[5:])).round == 1

    with_api(act)


def test_a_job_that_came_back_after_its_end_is_retried_from_the_first_shard_that_nobody_had(
    with_api: Use, valkey: Valkey
) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        await fail_one(api, job, LocalStore(api.outputs))
        await after_flushall(api, valkey, job)
        await api.stub.RetryFailedShards(jobs_pb2.RetryFailedShardsRequest(name=job.name))
        await api.ledger.heartbeat("w", 9)
        assert sorted(await dispatch(api.ledger)) == [0, 1, 2]

    with_api(act)
