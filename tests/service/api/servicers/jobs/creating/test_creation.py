"""Jobs are created over the API: what is accepted, what is refused, and what is only validated."""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from mintage.v1 import jobs_pb2

from service.jobs.plan import read_plan
from service.settings import Settings
from tests.support.job_api import SAMPLE, Api, Code, State, Use, refused, serving, wrong_fields
from tests.support.valkey import Valkey


def test_a_job_is_durable_before_the_answer(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample()
        assert (job.state, job.progress.images_total, job.progress.shards_total) == (State.STATE_QUEUED, 10, 3)
        assert job.sample.seed == 2**64 - 1 and job.sample.model_digest == api.registry.find("digits").digest
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
            labels={"-": ""},
            ttl=Duration(),
            max_failed_shards=-1,
        )
        expected = ["count", "labels", "max_failed_shards", "max_images_per_second", "model", "output_prefix"]
        expected += ["request_id", "shard_size", "ttl"]
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
        ("labels", {"A": "b"}),
        ("labels", {"": "b"}),
        ("labels", {"a" * 64: "b"}),
        ("labels", {"a": "b" * 64}),
        ("labels", {"a": "b\n"}),
        ("labels", {f"a{number}": "" for number in range(33)}),
        ("ttl", Duration(nanos=999_000_000)),
        ("ttl", Duration(seconds=-5)),
        ("ttl", Duration(seconds=5, nanos=-1)),
        ("ttl", Duration(seconds=2**62)),
        ("max_failed_shards", -1),
        ("max_failed_shards", 2**40),
        ("format", 5),
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


def test_a_job_says_its_priority_and_who_asked_for_it(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job = await api.sample(priority=-10, request_id="one")
        assert (job.priority, job.client) == (-10, "127.0.0.1")
        fields: dict[str, Any] = {**SAMPLE, "priority": 3}
        request = jobs_pb2.CreateSampleJobRequest(**fields)
        named = (await api.stub.CreateSampleJob(request, metadata=(("mintage-client", "lab-7"),))).job
        assert (named.priority, named.client) == (3, "lab-7")
        odd = api.stub.CreateSampleJob(request, metadata=(("mintage-client", "a b"),))
        assert await wrong_fields(odd) == ["metadata.mintage-client"]
        both = api.stub.CreateSampleJob(request, metadata=(("mintage-client", "lab-7"), ("mintage-client", "lab-8")))
        assert await wrong_fields(both) == ["metadata.mintage-client"]
        assert await wrong_fields(api.sample(priority=11)) == ["priority"]
        await refused(api.sample(priority=1, request_id="one"), Code.ALREADY_EXISTS)

    with_api(act)


def test_a_plan_and_its_job_name_all_that_decides_their_bytes(with_api: Use) -> None:
    async def act(api: Api) -> None:
        job, model = await api.sample(), api.registry.find("digits")
        plan = read_plan((Path(job.output_uri) / "plan.json").read_bytes())
        assert (plan.model_digest, plan.micro_batch) == (model.digest, model.micro_batch)
        assert (plan.device_class, plan.torch_version) == (model.device_class, model.torch_version)
        assert (plan.numerics, plan.precision) == (model.numerics, model.precision)
        said = job.arithmetic
        assert (said.device_class, said.torch_version) == (model.device_class, model.torch_version)
        assert (said.numerics, said.precision) == (model.numerics, model.precision)
        assert plan.mintage_version == importlib.metadata.version("mintage")

    with_api(act)


def test_what_is_only_validated_is_shown_and_leaves_nothing_behind(with_api: Use, valkey: Valkey) -> None:
    async def act(api: Api) -> None:
        job = await api.sample(validate_only=True, request_id="one")
        assert (job.name, job.output_uri, job.HasField("create_time")) == ("", "", False)
        assert (job.progress.shards_total, job.sample.shard_size, job.client) == (3, 4, "127.0.0.1")
        assert job.sample.model_digest == api.registry.find("digits").digest
        placed = await api.sample(validate_only=True, output_prefix="a/b")
        assert placed.output_uri == str(api.outputs / "a/b") and not api.outputs.exists()
        with contextlib.closing(valkey.client()) as client:
            assert client.keys("mintage:*") == ["mintage:rebuilt"]

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
        await api.run_all(job)
        scored = await api.score(job.name, validate_only=True)
        assert (scored.name, scored.score.splits, scored.progress.shards_total) == ("", 10, 3)
        listed = (await api.stub.ListJobs(jobs_pb2.ListJobsRequest())).jobs
        assert [each.name for each in listed] == [job.name]

    with_api(act)


def test_what_a_job_was_asked_to_be_like_is_shown_and_kept_on_disk(with_api: Use) -> None:
    options: dict[str, Any] = {"labels": {"team": "Köln, 2", "a": ""}, "ttl": Duration(seconds=90, nanos=500_000_000)}

    async def act(api: Api) -> None:
        job = await api.sample(**options, max_failed_shards=0)
        assert (dict(job.labels), job.ttl, job.max_failed_shards) == (*options.values(), 0)
        assert not job.HasField("expire_time")
        plan = read_plan((Path(job.output_uri) / "plan.json").read_bytes())
        assert (plan.labels, plan.ttl_ms, plan.max_failed_shards) == ({"team": "Köln, 2", "a": ""}, 90_500, 0)
        await api.run_all(job)
        ended = (await api.stub.GetJob(jobs_pb2.GetJobRequest(name=job.name))).job
        assert ended.expire_time.ToMilliseconds() == ended.end_time.ToMilliseconds() + 90_500
        score = await api.score(job.name, **options)
        assert (dict(score.labels), score.ttl, score.HasField("max_failed_shards")) == (*options.values(), False)
        plain = await api.sample()
        assert not plain.labels and not plain.HasField("ttl") and not plain.HasField("max_failed_shards")
        assert b"labels" not in (Path(plain.output_uri) / "plan.json").read_bytes()

    with_api(act)


def test_a_job_without_a_time_to_be_kept_gets_that_of_the_server(tmp_path: Path, valkey: Valkey) -> None:
    settings = Settings.model_validate({"state_dir": tmp_path, "redis_url": valkey.url, "job_ttl_s": 90.5})

    async def act() -> None:
        async with serving(settings) as api:
            job = await api.sample(request_id="one")
            assert job.ttl.ToMilliseconds() == 90_500
            assert (await api.sample(ttl=Duration(seconds=5))).ttl.ToSeconds() == 5
        changed = settings.model_copy(update={"job_ttl_s": 0.0})
        async with serving(changed) as api:
            assert (await api.sample(request_id="one")).ttl.ToMilliseconds() == 90_500

    asyncio.run(act())
