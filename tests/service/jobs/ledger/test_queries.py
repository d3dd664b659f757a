"""Jobs and shards are listed over the API, page by page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from mintage.v1 import jobs_pb2

from service.jobs.ledger.views import Lease
from service.jobs.plan import Plan
from tests.support.job_api import Api, State, Use, wrong_fields
from tests.support.plans import sample_plan, score_plan


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


@pytest.mark.parametrize("token", ["x", "!!!", "am9iOi4uLw", "ä", "c2hhcmQ6LTE", "A" * 1000])
def test_a_page_token_of_nobody_is_refused(with_api: Use, token: str) -> None:
    async def act(api: Api) -> None:
        listing = api.stub.ListJobs(jobs_pb2.ListJobsRequest(page_token=token, page_size=-1))
        assert await wrong_fields(listing) == ["page_size", "page_token"]
        shards = api.stub.ListShards(jobs_pb2.ListShardsRequest(name="x", page_token=token))
        assert await wrong_fields(shards) == ["name", "page_token"]

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


@pytest.mark.parametrize(
    ("field", "value"), [("labels", {"A": "b"}), ("kind", 99), ("states", [State.STATE_QUEUED, 99]), ("page_size", -1)]
)
def test_a_wrong_filter_is_an_invalid_argument(with_api: Use, field: str, value: Any) -> None:
    async def act(api: Api) -> None:
        assert await wrong_fields(api.stub.ListJobs(jobs_pb2.ListJobsRequest(**{field: value}))) == [field]

    with_api(act)


JOBS = 600
STATES = ("QUEUED", "PAUSED", "SUCCEEDED")
CLIENTS = ("lab-1", "lab-2")


def plan_of(number: int) -> Plan:
    """One of many jobs, that differ in every way that one can ask for."""
    plan = sample_plan(
        job=f"01{number:04d}",
        client=CLIENTS[number % 2],
        labels={"run": str(number % 5), "part": "ü" if number % 7 else 'a "b"'} if number % 3 else {},
    )
    return plan if number % 4 else score_plan(plan, "b" * 64, job=plan.job)


async def names(api: Api, size: int, **wanted: Any) -> list[str]:
    """Every job that is as wanted, page by page."""
    found: list[str] = []
    token = ""
    while True:
        request = jobs_pb2.ListJobsRequest(page_size=size, page_token=token, **wanted)
        page = await api.stub.ListJobs(request)
        assert len(page.jobs) <= size
        found += [job.name for job in page.jobs]
        token = page.next_page_token
        if not token:
            return found


def expected(keep: Callable[[int], bool]) -> list[str]:
    return [f"jobs/01{number:04d}" for number in reversed(range(JOBS)) if keep(number)]


def test_every_filter_holds_alone_and_with_others_on_pages_of_any_size(
    with_api: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.jobs.ledger.queries.JOBS_PER_SCRIPT", 64)

    async def act(api: Api) -> None:
        for number in range(JOBS):
            await api.ledger.restore(plan_of(number), {"state": STATES[number % 3]})
        for size in (1000, 60, 7):
            assert await names(api, size) == expected(lambda n: True)
            assert await names(api, size, client="lab-2") == expected(lambda n: n % 2 == 1)
            assert await names(api, size, kind=jobs_pb2.Job.KIND_SCORE) == expected(lambda n: n % 4 == 0)
            assert await names(api, size, labels={"run": "3"}) == expected(lambda n: n % 3 > 0 and n % 5 == 3)
            everything: dict[str, Any] = {
                "client": "lab-1",
                "kind": jobs_pb2.Job.KIND_SAMPLE,
                "states": [State.STATE_PAUSED, State.STATE_QUEUED],
                "labels": {"run": "1", "part": "ü"},
            }
            found = await names(api, size, **everything)
            assert found == expected(lambda n: n % 4 == 2 and n % 3 == 1 and n % 5 == 1 and n % 7 > 0) and found
            assert await names(api, size, labels={"part": 'a "b"'}) == expected(lambda n: n % 3 > 0 and n % 7 == 0)
            assert await names(api, size, client="nobody") == await names(api, size, labels={"nothing": ""}) == []

    with_api(act)


def test_a_search_that_finds_little_ends_its_page_early_and_goes_on(
    with_api: Use, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.jobs.ledger.queries.JOBS_PER_SCRIPT", 10)
    monkeypatch.setattr("service.jobs.ledger.queries.MAX_SCRIPTS", 2)

    async def act(api: Api) -> None:
        for number in range(100):
            await api.ledger.create(sample_plan(job=f"01{number:04d}", client="rare" if number == 5 else "common"))
        first = await api.stub.ListJobs(jobs_pb2.ListJobsRequest(client="rare"))
        assert not first.jobs and first.next_page_token
        assert await names(api, 50, client="rare") == ["jobs/010005"]

    with_api(act)


def test_shards_are_listed_by_state_whatever_the_page(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample(count=2500, shard_size=1)
        done = [3, 4, 1500, 2499]
        for shard in done:
            lease = await api.ledger.claim(job.name[5:], shard, owner=str(shard), worker="w", lease_s=60)
            assert isinstance(lease, Lease)
            await api.ledger.commit(lease, digest="d" * 64, images=1, size_bytes=1)
        for size in (1, 2, 3, 4, 1000):
            token, found, pages = "", [], 0
            while pages == 0 or token:
                request = jobs_pb2.ListShardsRequest(
                    name=job.name, page_size=size, page_token=token, states=[jobs_pb2.Shard.STATE_DONE]
                )
                page = await api.stub.ListShards(request)
                found += [shard.index for shard in page.shards]
                token, pages = page.next_page_token, pages + 1
            assert found == done
        wrong = jobs_pb2.ListShardsRequest(name=job.name, states=[99])  # type: ignore[list-item]
        assert await wrong_fields(api.stub.ListShards(wrong)) == ["states"]

    with_api(act)
