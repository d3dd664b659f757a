"""A watch that breaks off is taken up again: nothing is told twice, nothing is left out, and no number falls."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from typing import Any

import grpc
import pytest
from mintage.v1 import jobs_pb2

from service.api.servicers.jobs import watch
from service.jobs.dispatch.rebuild import rebuild
from service.jobs.ledger.views import Lease
from service.jobs.steps import Step
from service.jobs.storage.local_store import LocalStore
from tests.support.job_api import Api, State, Use, refused, wrong_fields
from tests.support.shards import make_shards
from tests.support.valkey import Valkey


async def watched(api: Api, name: str, token: str = "") -> Any:
    return api.stub.WatchJob(jobs_pb2.WatchJobRequest(name=name, resume_token=token))


async def finish_shard(api: Api, job: jobs_pb2.Job, shard: int) -> None:
    lease = await api.ledger.claim(job.name[5:], shard, owner=str(shard), worker="w", lease_s=60)
    assert isinstance(lease, Lease)
    await api.ledger.commit(lease, digest="d" * 64, images=4, size_bytes=100)


def test_a_watch_goes_on_after_its_token(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        first = await (await watched(api, job.name)).read()
        again = await watched(api, job.name, first.resume_token)
        with pytest.raises(TimeoutError):  # it has been told of this state already
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(again.read())), 0.6)
        await finish_shard(api, job, 0)
        async with asyncio.timeout(60):
            later = await (await watched(api, job.name, first.resume_token)).read()
        assert later.job.progress.images_done == 4 and later.resume_token != first.resume_token

    with_api(act)


def test_a_watch_tells_what_is_done_to_end_a_job(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        for shard in range(3):
            await finish_shard(api, job, shard)
        stream = await watched(api, job.name)
        assert not (await stream.read()).job.progress.HasField("finishing")
        await api.ledger.note_step(await api.ledger.job(job.name[5:]), Step("looking at shards", 1, 3))
        finishing = (await stream.read()).job.progress.finishing
        assert (finishing.step, finishing.done, finishing.total) == ("looking at shards", 1, 3)

    with_api(act)


def test_a_watch_that_is_taken_up_after_the_end_tells_the_end(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        await api.run_all(job)
        stream = await watched(api, job.name)
        seen = [answer async for answer in stream]
        assert [answer.job.state for answer in seen] == [State.STATE_SUCCEEDED]
        again = [answer async for answer in await watched(api, job.name, seen[-1].resume_token)]
        assert [answer.job.state for answer in again] == [State.STATE_SUCCEEDED]

    with_api(act)


def test_a_watch_that_begins_tells_no_less_than_is_on_disk(with_api: Use, valkey: Valkey) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        await finish_shard(api, job, 0)
        make_shards(api.outputs, (await api.ledger.job(job.name[5:])).plan, range(2))
        with contextlib.closing(valkey.client()) as client:
            client.set("mintage:rebuilt", "another run, whose last writes were lost")
        pending = asyncio.ensure_future((await watched(api, job.name)).read())
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(pending), 0.6)
        incarnation = await api.ledger.incarnation()
        await rebuild(api.ledger, LocalStore(api.outputs))
        assert await api.ledger.note_indexed(incarnation)
        async with asyncio.timeout(60):
            progress = (await pending).job.progress
        assert (progress.images_done, progress.images_committed, progress.shards_done) == (8, 8, 2)

    with_api(act)


def test_a_watch_is_told_that_jobs_are_still_being_indexed(
    with_api: Use, valkey: Valkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "INDEX_S", 0.3)

    async def act(api: Api) -> None:
        job = await api.sample()
        with contextlib.closing(valkey.client()) as client:
            client.set("mintage:rebuilt", "another run, whose last writes were lost")
        await refused((await watched(api, job.name)).read(), grpc.StatusCode.UNAVAILABLE)

    with_api(act)


def test_progress_never_falls_where_redis_was_emptied(with_api: Use, valkey: Valkey) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        for shard in (0, 1):
            await finish_shard(api, job, shard)
        stream = await watched(api, job.name)
        before = await stream.read()
        assert (before.job.progress.images_done, before.job.progress.attempts) == (8, 2)
        with contextlib.closing(valkey.client()) as client:
            client.flushall()
        pending = asyncio.ensure_future(stream.read())
        with pytest.raises(TimeoutError):  # the job is unknown for the moment
            await asyncio.wait_for(asyncio.shield(pending), 0.6)
        assert await rebuild(api.ledger, LocalStore(api.outputs)) == 1
        known = (await api.stub.GetJob(jobs_pb2.GetJobRequest(name=job.name))).job
        assert known.progress.images_done == 0, "the files of these shards were never there"
        async with asyncio.timeout(60):
            again = await watched(api, job.name, before.resume_token)
            for answer in (await pending, await again.read()):
                progress = answer.job.progress
                counts = (progress.images_done, progress.shards_done, progress.attempts, progress.bytes_committed)
                assert counts == (8, 2, 2, 200)

    with_api(act)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"job":"other"}', '{"job":"JOB","images_done":-1}', "[1", '{"job":"JOB","x":1}']
)
def test_a_token_of_nobody_is_refused(with_api: Use, text: str) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        token = base64.urlsafe_b64encode(text.replace("JOB", job.name[5:]).encode()).decode() or "?"
        assert await wrong_fields((await watched(api, job.name, token)).read()) == ["resume_token"]

    with_api(act)
