"""What one client may have: over the real API, with a real Valkey and a real folder."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from mintage.v1 import jobs_pb2

from service.errors import QuotaExceeded
from service.jobs.dispatch.finalize import finalize
from service.jobs.dispatch.rebuild import rebuild
from service.jobs.ledger.control import Control
from service.jobs.ledger.ledger import Ledger
from service.jobs.plan import Plan
from service.jobs.storage.local_store import LocalStore
from service.jobs.submission.reservations import Quotas, Reservations
from service.jobs.submission.submit import write_plan
from service.settings import Settings
from tests.support.job_api import SAMPLE, Api, Code, refused, serving
from tests.support.ledgers import DIGEST, Use
from tests.support.plans import sample_plan
from tests.support.shards import make_shards
from tests.support.valkey import Valkey


@contextlib.asynccontextmanager
async def limited(tmp_path: Path, valkey: Valkey, **quotas: int) -> AsyncIterator[Api]:
    settings = Settings.model_validate({"state_dir": tmp_path, "redis_url": valkey.url, **quotas})
    async with serving(settings) as api:
        yield api


async def refusal(call: Any) -> tuple[dict[str, str], bool]:
    """Await a call that a quota forbids; returns the metadata, and whether it says when to try again."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert caught.value.code() == Code.RESOURCE_EXHAUSTED, caught.value.details()
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    details = rpc_status.from_call(caught.value).details
    assert any(detail.Unpack(info) for detail in details) and info.reason == "QUOTA_EXCEEDED"
    return dict(info.metadata), any(detail.Unpack(retry) for detail in details)


async def end(api: Api, job: jobs_pb2.Job) -> None:
    await api.ledger.cancel(job.name[5:])
    assert await api.ledger.finish(job.name[5:], "CANCELLING", "CANCELLED")


def test_a_hundred_creations_at_once_get_what_the_quota_allows(tmp_path: Path, valkey: Valkey) -> None:
    async def act() -> None:
        async with limited(tmp_path, valkey, quota_jobs=7, quota_images=60) as api:
            answers = await asyncio.gather(*(api.sample() for _ in range(100)), return_exceptions=True)
            jobs = [answer for answer in answers if isinstance(answer, jobs_pb2.Job)]
            assert len(jobs) == 6 == len(list(api.outputs.rglob("plan.json")))
            assert await refusal(api.sample()) == (
                {"quota": "images", "limit": "60", "used": "60", "requested": "10"},
                True,
            )
            await end(api, jobs[0])
            small = await api.sample(count=5)
            await api.sample(count=5)
            assert (await refusal(api.sample(count=1)))[0]["quota"] == "jobs"
            await end(api, small)
            assert await refusal(api.sample(count=61)) == (
                {"quota": "images", "limit": "60", "used": "55", "requested": "61"},
                False,
            )

    asyncio.run(act())


def test_a_quota_is_that_of_one_client(tmp_path: Path, valkey: Valkey) -> None:
    async def act() -> None:
        async with limited(tmp_path, valkey, quota_jobs=1) as api:
            await api.sample()
            await refused(api.sample(), Code.RESOURCE_EXHAUSTED)
            fields: dict[str, Any] = SAMPLE
            request = jobs_pb2.CreateSampleJobRequest(**fields)
            other = await api.stub.CreateSampleJob(request, metadata=(("mintage-client", "lab"),))
            assert other.job.client == "lab"

    asyncio.run(act())


def test_the_same_request_counts_once_and_validation_not_at_all(tmp_path: Path, valkey: Valkey) -> None:
    async def act() -> None:
        async with limited(tmp_path, valkey, quota_jobs=2) as api:
            same = await asyncio.gather(*(api.sample(request_id="one") for _ in range(20)))
            assert len({job.name for job in same}) == 1
            for _ in range(5):
                await api.sample(validate_only=True)
            await api.sample()
            assert (await api.sample(request_id="one")).name == same[0].name
            assert (await refusal(api.sample(validate_only=True)))[0]["used"] == "2"
            assert (await api.sample(validate_only=True, request_id="one")).name == same[0].name

    asyncio.run(act())


def test_a_job_that_never_came_to_be_counts_for_nothing(tmp_path: Path, valkey: Valkey) -> None:
    async def act() -> None:
        async with limited(tmp_path, valkey, quota_jobs=2) as api:
            await api.sample(output_prefix="a")
            for _ in range(3):
                await refused(api.sample(output_prefix="a/b"), Code.ALREADY_EXISTS)
                await refused(api.sample(model="models/nobody", request_id="one"), Code.NOT_FOUND)
            dead = sample_plan(client="127.0.0.1", request_id="two")
            reservations = Reservations(api.ledger, Quotas(jobs=2))
            assert await reservations.reserve(dead) == dead.job  # and then the server died
            await refused(api.sample(), Code.RESOURCE_EXHAUSTED)
            with contextlib.closing(valkey.client()) as client:
                client.zincrby("mintage:reserved", -600_000, dead.job)
            await api.sample(output_prefix="c")

    asyncio.run(act())


def test_bytes_count_until_the_job_is_deleted(tmp_path: Path, valkey: Valkey) -> None:
    async def act() -> None:
        async with limited(tmp_path, valkey, quota_bytes=300) as api:
            first, second = await api.sample(), await api.sample()
            await api.run_all(first)  # three shards of 100 bytes
            assert await refusal(api.sample()) == (
                {"quota": "bytes", "limit": "300", "used": "300", "requested": "0"},
                False,
            )
            await api.run_all(second)  # goes on, though the quota is used up
            shown = (await api.stub.GetJob(jobs_pb2.GetJobRequest(name=second.name))).job
            assert shown.progress.bytes_committed == 300
            await api.stub.DeleteJob(jobs_pb2.DeleteJobRequest(name=first.name))
            await refused(api.sample(), Code.RESOURCE_EXHAUSTED)
            await api.stub.DeleteJob(jobs_pb2.DeleteJobRequest(name=second.name))
            await end(api, await api.sample())
        with contextlib.closing(valkey.client()) as client:
            assert not client.keys("mintage:client:*") and not client.hgetall("mintage:held")
            assert not client.exists("mintage:pins", "mintage:reserved")

    asyncio.run(act())


def test_a_job_that_is_retried_counts_again(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        plan, other = sample_plan(client="lab"), sample_plan(client="lab", job="01x")
        await ledger.create(plan)
        reservations = Reservations(ledger, Quotas(jobs=1))
        lease = await ledger.claim(plan.job, 0, owner="o", worker="w", lease_s=60)
        assert not isinstance(lease, str)
        await ledger.fail(lease, "BAD: so", max_attempts=1, pause_s=0)
        await ledger.run("finish", plan.job, "RUNNING", "FAILED", "", "", "", 0)
        await reservations.check(other)
        await Control(ledger).retry(plan.job)
        with pytest.raises(QuotaExceeded):
            await reservations.check(other)

    with_ledger(act)


@pytest.mark.parametrize("manifest_says_bytes", [True, False])
def test_everything_counts_again_after_redis_was_emptied(
    with_ledger: Use, valkey: Valkey, tmp_path: Path, manifest_says_bytes: bool
) -> None:
    ended = sample_plan(client="lab")
    going_on = sample_plan(client="lab", job="01x", prefix="jobs/01x")
    store = LocalStore(tmp_path)

    def account() -> dict[str, int]:
        with contextlib.closing(valkey.client()) as client:
            found: dict[Any, Any] = client.hgetall("mintage:client:lab")
            assert client.hget("mintage:pins", ended.backend_name) == "1"
            return {name: int(number) for name, number in found.items()}

    async def made(ledger: Ledger, plan: Plan) -> None:
        await ledger.create(write_plan(store, plan))
        make_shards(tmp_path, plan, range(plan.shards))
        for shard in range(plan.shards):
            lease = await ledger.claim(plan.job, shard, owner=str(shard), worker="w", lease_s=60)
            assert not isinstance(lease, str)
            size = (tmp_path / plan.prefix / f"data/train-{shard:05d}-of-{plan.shards:05d}.tar").stat().st_size
            await ledger.commit(lease, digest=DIGEST, images=4, size_bytes=size)

    async def act(ledger: Ledger) -> None:
        await made(ledger, ended)
        finalize(store, ended, cancelled=False, errors={})
        assert await ledger.finish(ended.job, "FINALIZING", "SUCCEEDED")
        await ledger.create(write_plan(store, going_on))
        before, size = account(), (await ledger.job(ended.job)).bytes_committed
        assert before == {"jobs": 1, "images": 10, "bytes": size} and size > 0
        manifest = tmp_path / ended.prefix / "manifest.json"
        text = manifest.read_bytes()
        assert b'"bytes":%d,' % size in text
        if not manifest_says_bytes:
            manifest.write_bytes(text.replace(b'"bytes":%d,' % size, b""))
        with contextlib.closing(valkey.client()) as client:
            client.flushall()
        assert await rebuild(ledger, store) == 2
        assert account() == before and (await ledger.job(ended.job)).bytes_committed == size
        assert await rebuild(ledger, store) == 0 and account() == before

    with_ledger(act)
