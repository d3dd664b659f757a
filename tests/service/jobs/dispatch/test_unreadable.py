"""A job whose plan cannot be read is listed with the reason and left alone; a mended plan is picked up."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import FailedPrecondition
from service.jobs.dispatch.rebuild import index_mended, rebuild
from service.jobs.dispatch.unreadable import Unreadable
from service.jobs.ledger.control import Control
from service.jobs.ledger.ledger import Ledger
from service.jobs.ledger.queries import JobFilter, page
from service.jobs.ledger.views import JobView, UnreadableJob
from service.jobs.plan import VERSION, Plan
from service.jobs.shards.marker import marker_name, read_marker
from service.jobs.storage.local_store import LocalStore
from service.jobs.storage.output import OutputError
from service.jobs.submission.submit import write_plan
from tests.support.ledgers import Use, claim, dispatch, refused
from tests.support.plans import sample_plan
from tests.support.valkey import Valkey

PLAN = sample_plan(client="ann", labels={"a": "1"})
OTHER = sample_plan(job="01k0000000000009", prefix="mine/own")
NEWER = {"version": VERSION + 1, "a_new_field": True}


def plan_file(root: Path, plan: Plan = PLAN) -> Path:
    return root / plan.prefix / "plan.json"


def newer(plan: Plan = PLAN) -> str:
    return json.dumps(json.loads(plan.to_json()) | NEWER)


async def listed(ledger: Ledger, **fields: Any) -> dict[str, JobView | UnreadableJob]:
    views, _ = await page(ledger, JobFilter(**fields), after="", size=10)
    return {view.job if isinstance(view, UnreadableJob) else view.plan.job: view for view in views}


async def never_missing(ledger: Ledger, job: str) -> None:
    """Look at a job again and again until it can be read; it must be there each time."""
    while isinstance(await ledger.find(job), UnreadableJob):
        await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda file: file.write_bytes(file.read_bytes()[:100]), "PLAN_UNREADABLE: plan.json"),
        (lambda file: file.write_bytes(b"\0" * 300), "PLAN_UNREADABLE: plan.json"),
        (lambda file: file.write_bytes(b""), "PLAN_UNREADABLE: plan.json"),
        (lambda file: file.write_text(file.read_text().replace(PLAN.prefix, "jobs/x")), "move it there"),
        (lambda file: file.write_text(newer()), f"NEWER_VERSION: made by a newer Mintage: version {VERSION + 1}"),
    ],
)
def test_a_plan_that_cannot_be_read_is_listed_and_picked_up_once_it_can(
    with_ledger: Use, tmp_path: Path, harm: Callable[[Path], object], said: str
) -> None:
    async def act(ledger: Ledger) -> None:
        store, unreadable = LocalStore(tmp_path), Unreadable(ledger, LocalStore(tmp_path))
        write_plan(store, PLAN)
        write_plan(store, OTHER)
        sound = plan_file(tmp_path).read_bytes()
        harm(plan_file(tmp_path))
        assert await rebuild(ledger, store) == 1
        found = await listed(ledger)
        assert set(found) == {PLAN.job, OTHER.job} and isinstance(found[OTHER.job], JobView)
        bad = found[PLAN.job]
        assert isinstance(bad, UnreadableJob) and said in bad.error and bad.prefix == PLAN.prefix
        assert set(await listed(ledger, states=frozenset({"UNREADABLE"}))) == {PLAN.job}
        for ask in (ledger.job(PLAN.job), Control(ledger).pause(PLAN.job), Control(ledger).delete(PLAN.job, store)):
            with pytest.raises(FailedPrecondition, match=said.partition(":")[0]) as caught:
                await ask
            assert caught.value.reason == "JOB_UNREADABLE"

        plan_file(tmp_path).write_bytes(sound)
        seen = asyncio.create_task(never_missing(ledger, PLAN.job))
        assert await index_mended(ledger, store, unreadable) == 1
        await seen
        assert (await ledger.job(PLAN.job)).plan == PLAN
        assert await ledger.unreadable_prefixes() == []

    with_ledger(act)


def test_an_unreadable_plan_that_is_removed_is_listed_no_more(with_ledger: Use, tmp_path: Path) -> None:
    async def act(ledger: Ledger) -> None:
        store = LocalStore(tmp_path)
        write_plan(store, OTHER)
        plan_file(tmp_path, OTHER).write_bytes(b"{")
        await rebuild(ledger, store)
        (name,) = await listed(ledger)
        assert name.startswith("unreadable")
        plan_file(tmp_path, OTHER).unlink()
        assert await index_mended(ledger, store, Unreadable(ledger, store)) == 0
        assert await listed(ledger) == {}

    with_ledger(act)


def test_a_running_job_outlives_damage_to_its_plan(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    write_plan(store, PLAN)
    sound, output = plan_file(tmp_path).read_bytes(), store.output(PLAN.prefix, existing=True)
    assert output.put("a", b"")
    for content in (b"{", b"", sound):
        plan_file(tmp_path).write_bytes(content)
        assert output.put(f"after-{len(content)}", b"")
    plan_file(tmp_path).write_bytes(dataclasses.replace(PLAN, request_id="another").to_json())
    with pytest.raises(FileNotFoundError, match="deleted"):
        output.put("b", b"")


def as_if_newer(valkey: Valkey, job: str = PLAN.job) -> None:
    """Have a job of the ledger be one that a newer Mintage made."""
    with contextlib.closing(valkey.client()) as client:
        client.hset(f"mintage:job:{job}", mapping={"plan": newer(), "version": VERSION + 1})


def as_if_upgraded(valkey: Valkey, job: str = PLAN.job) -> None:
    """Have the Mintage that runs now be the newer one."""
    with contextlib.closing(valkey.client()) as client:
        client.hset(f"mintage:job:{job}", mapping={"plan": PLAN.to_json(), "version": VERSION})


def test_a_newer_job_is_listed_and_left_alone_until_the_newer_mintage_is_back(
    with_ledger: Use, valkey: Valkey, tmp_path: Path
) -> None:
    async def act(ledger: Ledger) -> None:
        await ledger.create(PLAN)
        await ledger.heartbeat("w", 1)
        held = await claim(ledger, 0, lease_s=0.001)
        assert await dispatch(ledger, per_slot=1) == [1]
        as_if_newer(valkey)

        found = (await listed(ledger, states=frozenset({"UNREADABLE"})))[PLAN.job]
        assert isinstance(found, UnreadableJob) and found.error.startswith("NEWER_VERSION: made by a newer Mintage")
        assert (found.client, found.labels, found.create_time_ms) == ("ann", {"a": "1"}, PLAN.create_time_ms)
        assert await refused(ledger, 1) == await refused(ledger, 2) == "newer"
        assert await ledger.expire(max_attempts=3, pause_s=0) == [], "its lease is not ours to take back"
        assert await dispatch(ledger, lost_after_s=0) == [], "its hints are not ours to send"
        for ask in (ledger.cancel(PLAN.job), Control(ledger).pause(PLAN.job), Control(ledger).retry(PLAN.job)):
            with pytest.raises(FailedPrecondition, match="made by a newer Mintage"):
                await ask

        await ledger.create(OTHER)
        assert sorted(await dispatch(ledger, per_slot=3)) == [0, 1, 2], "its hints take no slots from ours"

        as_if_upgraded(valkey)
        await ledger.reopen()
        assert (await ledger.job(PLAN.job)).attempts == 1
        assert await ledger.expire(max_attempts=3, pause_s=0) == [held]
        assert isinstance(await ledger.claim(PLAN.job, 1, owner="o", worker="w", lease_s=60), type(held))
        await ledger.cancel(OTHER.job)
        assert 2 in await dispatch(ledger, per_slot=9)

    with_ledger(act)


def test_a_marker_of_a_newer_mintage_says_so(tmp_path: Path) -> None:
    output = LocalStore(tmp_path).output("a")
    output.put(marker_name(0), json.dumps({"version": VERSION + 1}).encode())
    with pytest.raises(OutputError, match="made by a newer Mintage"):
        read_marker(output, 0)
