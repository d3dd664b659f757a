"""Jobs are deleted when their time has come: on a real Valkey and a real folder, as the dispatcher does it."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import NoReturn

import pytest

from service.errors import FailedPrecondition
from service.jobs.dispatch.finalize import finalize
from service.jobs.dispatch.rebuild import rebuild
from service.jobs.dispatch.retention import Retention
from service.jobs.ledger.control import Control
from service.jobs.ledger.ledger import Ledger
from service.jobs.plan import Plan
from service.jobs.storage.local_store import LocalStore
from service.jobs.submission.reservations import Quotas, Reservations
from service.jobs.submission.submit import write_plan
from tests.support.ledgers import Use
from tests.support.plans import sample_plan, score_plan
from tests.support.valkey import Valkey

DAY_MS = 86_400_000
KEPT = sample_plan(ttl_ms=DAY_MS, request_id="one")
JOB = KEPT.job


async def end(ledger: Ledger, root: Path, plan: Plan = KEPT) -> None:
    """Let a job fail at once."""
    store = LocalStore(root)
    await ledger.create(write_plan(store, plan))
    for shard in range(plan.shards):
        lease = await ledger.claim(plan.job, shard, owner=str(shard), worker="w", lease_s=60)
        assert not isinstance(lease, str)
        await ledger.fail(lease, "BAD: so", max_attempts=1, pause_s=0)
    finalize(store, plan, cancelled=False, errors=dict.fromkeys(range(plan.shards), "BAD: so"))
    assert await ledger.finish(plan.job, "FINALIZING", "FAILED")


def let_time_pass(valkey: Valkey, job: str, ms: int) -> None:
    """Move the time of a job's deletion towards the past."""
    client = valkey.client()
    if client.zscore("mintage:expiring", job) is not None:
        client.zincrby("mintage:expiring", -ms, job)
    client.close()


async def clean(ledger: Ledger, root: Path) -> None:
    retention = Retention(ledger, LocalStore(root))
    await retention.poll()
    await retention.join()


async def there(ledger: Ledger, root: Path, plan: Plan = KEPT) -> bool:
    known = not await ledger.unknown([plan.job])
    assert known == (root / plan.prefix).exists()
    return known


def test_a_job_is_deleted_when_its_time_has_come_and_not_before(
    with_ledger: Use, valkey: Valkey, tmp_path: Path
) -> None:
    async def act(ledger: Ledger) -> None:
        other = sample_plan(job="01x", prefix="jobs/01x")
        await end(ledger, tmp_path)
        await end(ledger, tmp_path, other)
        let_time_pass(valkey, JOB, DAY_MS - 60_000)
        await clean(ledger, tmp_path)
        assert await there(ledger, tmp_path)
        let_time_pass(valkey, JOB, 60_001)
        let_time_pass(valkey, "01x", 10 * DAY_MS)
        await clean(ledger, tmp_path)
        assert not await there(ledger, tmp_path) and await there(ledger, tmp_path, other)
        assert await Reservations(ledger, Quotas()).requested("one", KEPT.request_digest) == ""
        assert await rebuild(ledger, LocalStore(tmp_path)) == 0

    with_ledger(act)


def test_a_job_that_was_retried_meanwhile_is_kept_and_its_time_begins_anew(
    with_ledger: Use, valkey: Valkey, tmp_path: Path
) -> None:
    async def act(ledger: Ledger) -> None:
        await end(ledger, tmp_path)
        await Control(ledger).retry(JOB)
        let_time_pass(valkey, JOB, 10 * DAY_MS)
        await clean(ledger, tmp_path)
        assert await there(ledger, tmp_path)
        await ledger.cancel(JOB)
        assert await ledger.finish(JOB, "CANCELLING", "CANCELLED", retry_round=1)
        let_time_pass(valkey, JOB, DAY_MS - 60_000)
        await clean(ledger, tmp_path)
        assert await there(ledger, tmp_path)
        let_time_pass(valkey, JOB, 60_001)
        await clean(ledger, tmp_path)
        assert not await there(ledger, tmp_path)

    with_ledger(act)


def test_a_deletion_that_was_broken_off_is_gone_on_with(with_ledger: Use, valkey: Valkey, tmp_path: Path) -> None:
    plan = sample_plan()

    async def act(ledger: Ledger) -> None:
        await end(ledger, tmp_path, plan)
        await ledger.run("delete", plan.job, 10_000)
        (tmp_path / plan.prefix / "plan.json").unlink()  # and then the server died
        await clean(ledger, tmp_path)
        assert await there(ledger, tmp_path, plan)
        let_time_pass(valkey, plan.job, 10_001)
        await clean(ledger, tmp_path)
        assert not await there(ledger, tmp_path, plan)

    with_ledger(act)


def test_what_cannot_be_removed_now_is_tried_again_later(with_ledger: Use, valkey: Valkey, tmp_path: Path) -> None:
    class Stubborn(LocalStore):
        """Cannot remove anything."""

        def output(self, prefix: str, *, existing: bool = False) -> NoReturn:
            """Fail."""
            raise FailedPrecondition("not now")

    async def act(ledger: Ledger) -> None:
        await end(ledger, tmp_path)
        let_time_pass(valkey, JOB, DAY_MS)
        retention = Retention(ledger, Stubborn(tmp_path))
        await retention.poll()
        await retention.join()
        assert (await ledger.job(JOB)).state == "DELETING"
        let_time_pass(valkey, JOB, 10_001)
        await clean(ledger, tmp_path)
        assert not await there(ledger, tmp_path)

    with_ledger(act)


def test_a_job_that_redis_forgot_ends_when_its_manifest_was_written(
    with_ledger: Use, valkey: Valkey, tmp_path: Path
) -> None:
    async def act(ledger: Ledger) -> None:
        await end(ledger, tmp_path)
        ended_ms = (await ledger.job(JOB)).end_time_ms
        manifest = tmp_path / KEPT.prefix / "manifest.json"
        client = valkey.client()
        for seconds_later in (-3600, 10**9):  # an hour ago; a wrong clock, which must not keep the job for ever
            client.flushall()
            time = ended_ms / 1000 + seconds_later
            os.utime(manifest, (time, time))
            assert await rebuild(ledger, LocalStore(tmp_path)) == 1
            view = await ledger.job(JOB)
            assert abs(view.end_time_ms - ended_ms - min(seconds_later, 0) * 1000) < 60_000
            assert client.zscore("mintage:expiring", JOB) == view.end_time_ms + DAY_MS
        client.close()
        let_time_pass(valkey, JOB, DAY_MS + 60_000)
        await clean(ledger, tmp_path)
        assert not await there(ledger, tmp_path)

    with_ledger(act)


@pytest.mark.parametrize("as_reference", [False, True])
def test_a_job_whose_images_are_being_scored_is_kept_until_that_has_ended(
    with_ledger: Use, valkey: Valkey, tmp_path: Path, as_reference: bool
) -> None:
    scoring = score_plan(KEPT, "b" * 64, ttl_ms=0, request_id="")
    if as_reference:
        assert scoring.scoring is not None
        other = dataclasses.replace(scoring.scoring, source_job="01other", reference_job=JOB)
        scoring = dataclasses.replace(scoring, scoring=other)

    async def act(ledger: Ledger) -> None:
        await end(ledger, tmp_path)
        await Reservations(ledger, Quotas()).reserve(scoring)
        let_time_pass(valkey, JOB, DAY_MS)
        await clean(ledger, tmp_path)
        assert await there(ledger, tmp_path), "it is kept from the moment on when the other one is taken in"
        await ledger.create(scoring)
        let_time_pass(valkey, JOB, 10_001)
        await clean(ledger, tmp_path)
        assert await there(ledger, tmp_path)
        await ledger.cancel(scoring.job)
        assert await ledger.finish(scoring.job, "CANCELLING", "CANCELLED")
        let_time_pass(valkey, JOB, 10_001)
        await clean(ledger, tmp_path)
        assert not await there(ledger, tmp_path)

    with_ledger(act)
