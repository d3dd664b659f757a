"""A request with an id is one job, however often it is made; another request under the id is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from mintage.v1 import jobs_pb2

from service.jobs.plan import read_plan
from tests.support.job_api import Api, Code, State, Use, refused
from tests.support.valkey import Valkey


def test_the_format_is_kept_and_tells_two_requests_apart(with_api: Use) -> None:
    async def act(api: Api) -> None:
        default = await api.sample(request_id="one")
        assert default.sample.format == jobs_pb2.OUTPUT_FORMAT_WEBDATASET
        again = await api.sample(request_id="one", format=jobs_pb2.OUTPUT_FORMAT_WEBDATASET)
        assert again.name == default.name
        await refused(api.sample(request_id="one", format=jobs_pb2.OUTPUT_FORMAT_NPZ), Code.ALREADY_EXISTS)
        for number in jobs_pb2.OutputFormat.values()[1:]:
            job = await api.sample(format=number)
            assert job.sample.format == number
            assert read_plan((Path(job.output_uri) / "plan.json").read_bytes()).count == 10

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
        api.registry.remove("digits")
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


@pytest.mark.parametrize("option", [{"labels": {"a": "b"}}, {"ttl": Duration(seconds=5)}, {"max_failed_shards": 0}])
def test_a_request_with_another_option_is_another_request(with_api: Use, option: dict[str, Any]) -> None:
    async def act(api: Api) -> None:
        job = await api.sample(request_id="one")
        await refused(api.sample(request_id="one", **option), Code.ALREADY_EXISTS)
        asked = await api.sample(request_id="two", **option)
        assert (await api.sample(request_id="two", **option)).name == asked.name != job.name

    with_api(act)
