"""Jobs in the ledger from their creation to their end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

import pytest
import uvloop

from service.errors import NotFound, ResourceExhausted, Unavailable
from service.jobs.ledger.connection import connect
from service.jobs.ledger.errors import LeaseEnded
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.views import JobView
from service.settings import Settings
from tests.support.ledgers import DIGEST, JOB, LEASE_S, PLAN, Use, claim, dispatch, refused
from tests.support.plans import sample_plan
from tests.support.valkey import Valkey, free_port


def test_a_job_goes_from_queued_to_succeeded(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        assert await ledger.create(PLAN)
        assert (await ledger.job(JOB)).state == "QUEUED"
        for shard in range(PLAN.shards):
            lease = await claim(ledger, shard)
            assert (await ledger.job(JOB)).state == "RUNNING"
            await ledger.renew(lease, lease_s=LEASE_S, done=1)
            await ledger.commit(lease, digest=DIGEST, images=len(PLAN.span(shard)), size_bytes=100)
        view = await ledger.job(JOB)
        assert (view.state, view.images_done, view.images_committed, view.shards_done) == ("FINALIZING", 10, 10, 3)
        assert await ledger.ending() == [JOB]
        assert await ledger.finish(JOB, "FINALIZING", "SUCCEEDED", root_digest=DIGEST, result='{"mean": 1.5}')
        view = await ledger.job(JOB)
        assert view.terminal and view.root_digest == DIGEST and view.result == {"mean": 1.5}
        assert view.end_time_ms >= view.start_time_ms > 0 and await ledger.ending() == []

    with_ledger(act)


def test_a_connection_that_was_closed_unnoticed_is_made_again(valkey: Valkey) -> None:
    async def act() -> None:
        client = connect(Settings.model_validate({"redis_url": valkey.url}))
        connection = await client.connection_pool.get_connection()  # type: ignore[no-untyped-call]
        connection._writer.transport.abort()  # as uvloop does where the other side is gone
        await client.connection_pool.release(connection)
        assert await client.ping()
        await client.aclose()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(act())


def test_a_shard_may_take_a_month(with_ledger: Use, valkey: Valkey) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        lease = await claim(ledger)
        with contextlib.closing(valkey.client()) as client:
            record = json.loads(str(client.hget(f"mintage:job:{JOB}:shards", "0")))
            record["t"] -= 30 * 86_400_000
            client.hset(f"mintage:job:{JOB}:shards", "0", json.dumps(record))
        await ledger.commit(lease, digest=DIGEST, images=4, size_bytes=100)
        assert (await ledger.job(JOB)).shards_done == 1

    with_ledger(act)


def test_creating_a_job_again_changes_nothing(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        assert await ledger.create(PLAN)
        await claim(ledger)
        assert not await ledger.create(PLAN)
        assert (await ledger.job(JOB)).shards_running == 1

    with_ledger(act)


def test_a_cancelled_job_tells_its_workers_and_starts_no_more_shards(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        lease = await claim(ledger)
        await ledger.cancel(JOB)
        assert (await ledger.job(JOB)).state == "CANCELLING"
        assert await refused(ledger, 1) == "stopped"
        assert await ledger.ending() == []
        with pytest.raises(LeaseEnded, match="cancelled"):
            await ledger.renew(lease, lease_s=LEASE_S, done=1)
        assert not await ledger.finish(JOB, "CANCELLING", "CANCELLED")
        await ledger.hand_back(lease)
        assert await ledger.ending() == [JOB]
        assert await ledger.finish(JOB, "CANCELLING", "CANCELLED")
        await ledger.cancel(JOB)
        assert (await ledger.job(JOB)).state == "CANCELLED"
        await ledger.heartbeat("w", 9)
        assert await dispatch(ledger) == []

    with_ledger(act)


def test_cancelling_what_does_not_exist_is_an_error(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        for ask in (ledger.cancel("x"), ledger.job("x"), ledger.shards("x", first=0, limit=1)):
            with pytest.raises(NotFound, match="jobs/x does not exist"):
                await ask
        assert await ledger.revision("x") == 0

    with_ledger(act)


def test_jobs_that_are_not_there_are_told(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        assert await ledger.unknown([JOB, "014"]) == ["014"]
        assert [view.plan for view in await ledger.views([JOB, "014"]) if isinstance(view, JobView)] == [PLAN]

    with_ledger(act)


def test_every_change_raises_the_revision(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        revisions = [await ledger.revision(JOB)]
        lease = await claim(ledger)
        revisions.append(await ledger.revision(JOB))
        await ledger.renew(lease, lease_s=LEASE_S, done=1)
        revisions.append(await ledger.revision(JOB))
        await ledger.commit(lease, digest=DIGEST, images=4, size_bytes=100)
        revisions.append(await ledger.revision(JOB))
        await ledger.cancel(JOB)
        revisions.append(await ledger.revision(JOB))
        assert revisions == sorted(set(revisions))
        assert (await ledger.job(JOB)).revision == revisions[-1]

    with_ledger(act)


def test_recent_speed_follows_what_is_done(with_ledger: Use) -> None:
    async def act(ledger: Ledger) -> None:
        plan = sample_plan(count=100_000, shard_size=100_000)
        await ledger.create(plan)
        begin = time.monotonic()
        lease = await claim(ledger)
        assert (await ledger.job(JOB)).images_per_second == 0
        await asyncio.sleep(0.05)
        await ledger.renew(lease, lease_s=60, done=1000)
        slowest = 1000 / (time.monotonic() - begin)
        assert 0.9 * slowest < (await ledger.job(JOB)).images_per_second <= 1000 / 0.045

    with_ledger(act)


def test_a_redis_that_does_not_answer_is_unavailable() -> None:
    async def act() -> None:
        client = connect(Settings.model_validate({"redis_url": f"redis://127.0.0.1:{free_port()}/0"}))
        with pytest.raises(Unavailable, match="does not answer"):
            await Ledger(client).job(JOB)
        with pytest.raises(Unavailable, match="does not answer"):
            await Ledger(client).revision(JOB)
        await client.aclose()

    asyncio.run(act())


def test_a_full_redis_is_overloaded_and_can_still_be_read(with_ledger: Use, valkey: Valkey) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        client = valkey.client()
        client.config_set("maxmemory", 1)
        try:
            with pytest.raises(ResourceExhausted, match="full"):
                await ledger.create(sample_plan(job="01b"))
            with pytest.raises(ResourceExhausted, match="full"):
                await ledger.restore_shards(JOB, {0: DIGEST}, {})
            assert (await ledger.job(JOB)).revision == await ledger.revision(JOB) == 1
        finally:
            client.config_set("maxmemory", 0)
            client.close()

    with_ledger(act)


def test_the_oldest_server_that_is_promised_is_among_those_tested(
    valkey: Valkey, request: pytest.FixtureRequest
) -> None:
    client = valkey.client()
    version = str(client.info("server")["redis_version"])
    client.close()
    assert version.startswith("6.2.") == (request.node.callspec.params["valkey_server"] == "redis")
