"""Jobs are created over the API: what is accepted, what is refused, and that a request is one job."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from mintage.formulas import parse
from mintage.v1 import jobs_pb2, latents_pb2

from service.api.servicers.jobs import score_plans
from service.jobs.plan import read_plan
from service.models.directions.store import Direction, SavedDirections
from service.settings import Settings
from tests.support.image_folders import image_files
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


def test_a_score_job_is_compared_with_one_of_the_same_model(with_api: Use) -> None:
    async def act(api: Api) -> None:
        source = await api.sample()
        await api.run_all(source)
        reference = await api.score(source.name)
        unfinished = await refused(api.score(source.name, reference_job=reference.name), Code.FAILED_PRECONDITION)
        assert "the reference" in unfinished and "QUEUED" in unfinished
        await api.run_all(reference)
        job = await api.score(source.name, reference_job=reference.name)
        assert job.score.reference_job == reference.name
        scoring = (await api.ledger.job(job.name[5:])).plan.scoring
        assert scoring is not None and (scoring.features, scoring.reference_root_digest) == (4, "e" * 64)
        await refused(api.score(source.name, reference_job="jobs/nosuch"), Code.NOT_FOUND)
        assert "not a score job" in await refused(
            api.score(source.name, reference_job=source.name), Code.FAILED_PRECONDITION
        )
        assert await wrong_fields(api.score(source.name, reference_job="x")) == ["reference_job"]
        assert await wrong_fields(api.score(source.name, shard_size=3)) == ["shard_size"]
        judge = api.registry.find("judge")
        api.registry.write(dataclasses.replace(judge, digest="f" * 64))
        other = await refused(api.score(source.name, reference_job=reference.name), Code.FAILED_PRECONDITION)
        assert "two models cannot be compared" in other
        api.registry.write(dataclasses.replace(judge, device_class="cpu-other-bfloat16"))
        elsewhere = await refused(api.score(source.name, reference_job=reference.name), Code.FAILED_PRECONDITION)
        assert f"the reference {reference.name} was made for cpu," in elsewhere and "cpu-other-bfloat16" in elsewhere
        api.registry.write(dataclasses.replace(judge, features=0))
        assert "no features" in await refused(
            api.score(source.name, reference_job=reference.name), Code.FAILED_PRECONDITION
        )

    with_api(act)


def test_images_of_another_size_than_the_model_takes_are_scored_only_on_request(with_api: Use) -> None:
    async def act(api: Api) -> None:
        source = await api.sample()
        await api.run_all(source)
        made = (await api.ledger.job(source.name[5:])).plan
        judge = api.registry.find("judge")
        api.registry.write(dataclasses.replace(judge, height=9, width=7, channels=3))
        said = await refused(api.score(source.name), Code.FAILED_PRECONDITION)
        assert "has images" in said and "--resize" in said
        plan = (await api.ledger.job((await api.score(source.name, resize=True)).name[5:])).plan
        assert (plan.height, plan.width, plan.channels) == (9, 7, 3) and plan.scoring is not None
        assert plan.scoring.source_shape == (made.height, made.width, made.channels)
        assert await wrong_fields(api.score("", source_folder="set", resize=True)) == ["resize"]
        api.registry.write(judge)
        fitting = (await api.ledger.job((await api.score(source.name, resize=True)).name[5:])).plan
        assert fitting.scoring is not None and fitting.scoring.source_shape == ()

    with_api(act)


def test_a_folder_is_listed_when_its_job_is_accepted(with_api: Use) -> None:
    async def act(api: Api) -> None:
        inputs = api.outputs.parent / "inputs"
        image_files(inputs / "photos/cats", 7)
        rehearsed = await api.score("", source_folder="photos/cats", shard_size=3, validate_only=True)
        assert not list(api.outputs.rglob("*.json*"))
        job = await api.score("", source_folder="photos/cats", shard_size=3, splits=7, request_id="one")
        assert (job.score.source_folder, job.score.source_job, job.score.splits) == ("photos/cats", "", 7)
        assert (job.progress.images_total, job.progress.shards_total) == (7, 3)
        digest = rehearsed.score.source_listing
        assert job.score.source_listing == digest
        listing = (Path(job.output_uri) / f"source-{digest[:16]}.jsonl").read_bytes()
        assert hashlib.sha256(listing).hexdigest() == digest and listing.count(b"\n") == 8
        (inputs / "photos/cats/9.png").write_bytes(b"x")
        again = await api.score("", source_folder="photos/cats", shard_size=3, splits=7, request_id="one")
        assert again.name == job.name and again.progress.images_total == 7
        more = await api.score("", source_folder="photos/cats")
        assert more.progress.images_total == 8 and more.score.source_listing != digest

    with_api(act)


def test_a_listing_that_was_left_by_a_try_that_broke_off_is_in_nobodys_way(with_api: Use) -> None:
    async def act(api: Api) -> None:
        image_files(api.outputs.parent / "inputs/set", 3)
        folder = api.outputs / "mine"
        folder.mkdir(parents=True)
        (folder / "source-0123456789abcdef.jsonl").write_bytes(b"x")
        assert (await api.score("", source_folder="set", output_prefix="mine")).output_uri == str(folder)

    with_api(act)


def test_a_folder_that_cannot_be_scored_is_refused(with_api: Use, monkeypatch: pytest.MonkeyPatch) -> None:
    async def act(api: Api) -> None:
        inputs = api.outputs.parent / "inputs"
        image_files(inputs / "set", 3)
        (inputs / "empty").mkdir()
        (inputs / "linked").symlink_to("/etc")
        for folder in ("../outputs", "/etc", "set/../set", ".hidden", "a//b", "set/"):
            assert await wrong_fields(api.score("", source_folder=folder)) == ["source_folder"]
        assert await wrong_fields(api.score("")) == ["source_job"]
        both = api.score("jobs/x", source_folder="set", shard_size=-1)
        assert await wrong_fields(both) == ["shard_size", "source_folder"]
        assert await wrong_fields(api.score("", source_folder="set", splits=4)) == ["splits"]
        assert "MINTAGE_INPUT_DIR" in await refused(api.score("", source_folder="nosuch"), Code.NOT_FOUND)
        assert "holds no PNG" in await refused(api.score("", source_folder="empty"), Code.FAILED_PRECONDITION)
        assert "symbolic link" in await refused(api.score("", source_folder="linked"), Code.FAILED_PRECONDITION)
        request = jobs_pb2.CreateScoreJobRequest(model="models/judge", source_folder="set")
        monkeypatch.setattr(score_plans, "ANSWER_S", 60.0)
        late = api.stub.CreateScoreJob(request, timeout=50)
        assert "set a longer one" in await refused(late, Code.DEADLINE_EXCEEDED)
        assert not list(api.outputs.rglob("*.json*"))

    with_api(act)


def test_neurons_score_by_the_concepts_that_they_know(with_api: Use) -> None:
    async def act(api: Api) -> None:
        source = await api.sample()
        await api.run_all(source)
        job = await api.score(source.name, model="models/eyes")
        scoring = (await api.ledger.job(job.name[5:])).plan.scoring
        assert scoring is not None and scoring.classes == () and scoring.features == 4
        assert [(c.name, c.sign, c.threshold) for c in scoring.concepts] == [("dark", -1, -100.0), ("light", 1, 120.0)]
        api.registry.write(dataclasses.replace(api.registry.find("eyes"), concepts=()))
        assert "no concept" in await refused(api.score(source.name, model="models/eyes"), Code.FAILED_PRECONDITION)

    with_api(act)


def test_a_score_job_is_cut_as_its_source_was(with_api: Use) -> None:
    async def act(api: Api) -> None:
        source = await api.sample()
        await refused(api.score(source.name), Code.FAILED_PRECONDITION)
        await api.run_all(source)
        job = await api.score(source.name, splits=2)
        assert (job.score.source_job, job.score.splits) == (source.name, 2)
        assert (job.progress.images_total, job.progress.shards_total) == (10, 3)
        plan = (await api.ledger.job(job.name[5:])).plan
        assert plan.scoring is not None and plan.scoring.source_root_digest == "e" * 64
        assert await wrong_fields(api.score(source.name, splits=11)) == ["splits"]
        await refused(api.score(job.name), Code.FAILED_PRECONDITION)
        small = dataclasses.replace(api.registry.find("judge"), height=3)
        api.registry.write(small)
        assert "height" in await refused(api.score(source.name), Code.FAILED_PRECONDITION)

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


@pytest.mark.parametrize("option", [{"labels": {"a": "b"}}, {"ttl": Duration(seconds=5)}, {"max_failed_shards": 0}])
def test_a_request_with_another_option_is_another_request(with_api: Use, option: dict[str, Any]) -> None:
    async def act(api: Api) -> None:
        job = await api.sample(request_id="one")
        await refused(api.sample(request_id="one", **option), Code.ALREADY_EXISTS)
        asked = await api.sample(request_id="two", **option)
        assert (await api.sample(request_id="two", **option)).name == asked.name != job.name

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


def test_formulas_are_kept_with_the_directions_that_they_name(with_api: Use) -> None:
    async def act(api: Api) -> None:
        record, saved = api.registry.find("digits"), SavedDirections(api.registry.archives)
        turn = Direction(name="turn", values=(0.5,) * record.latent_size)
        saved.save(record, turn, replace_existing=False)
        latents = parse("#0:20:21") + parse("#1 + 2 * turn")
        made = await api.sample(latents=latents, index_step=3, count=100)
        saved.delete(record, "turn")
        assert list(made.sample.latents) == latents[:8] and made.sample.latent_count == 22
        assert made.sample.index_step == 3 and not made.sample.HasField("class_index")
        whole = (await api.stub.GetJob(jobs_pb2.GetJobRequest(name=made.name))).job.sample
        assert list(whole.latents) == latents
        assert [(each.name, tuple(each.values)) for each in whole.directions] == [("turn", turn.values)]
        plan = read_plan((Path(made.output_uri) / "plan.json").read_bytes())
        assert plan.sampling is not None and plan.sampling.directions == {"turn": turn.values}
        assert plan.sampling.latents[-1] == "0#1 + 2 * turn"

    with_api(act)


def test_formulas_tell_two_requests_apart(with_api: Use) -> None:
    async def act(api: Api) -> None:
        fields: dict[str, Any] = {"request_id": "one", "latents": parse("#1"), "index_step": 1}
        made = await api.sample(**fields)
        assert (await api.sample(**fields)).name == made.name
        for change in ({"latents": parse("#2")}, {"index_step": 2}, {"latents": [], "index_step": 0}):
            await refused(api.sample(**{**fields, **change}), Code.ALREADY_EXISTS)

    with_api(act)


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"latents": parse("#1 + turn")}, ["latents[0].sum.terms[1].latent.direction"]),
        ({"latents": [*parse("#1"), latents_pb2.Latent()]}, ["latents[1]"]),
        ({"latents": parse("#1"), "class_index": 0}, ["class_index"]),
        ({"latents": parse("#1"), "index_step": -1}, ["index_step"]),
        ({"latents": parse("#1"), "index_step": 2**32 + 1}, ["index_step"]),
        ({"latents": parse("#9223372036854775806"), "index_step": 1, "count": 3}, ["index_step"]),
        ({"latents": parse("mean(" + "#1, " * 999 + "#1)") * 60}, ["latents"]),
        ({"index_step": 1}, ["index_step"]),
        ({"class_index": 0}, ["class_index"]),
    ],
)
def test_wrong_formulas_are_named_when_a_job_is_created(
    with_api: Use, fields: dict[str, Any], wrong: list[str]
) -> None:
    async def act(api: Api) -> None:
        assert await wrong_fields(api.sample(**fields)) == wrong
        assert not api.outputs.exists()

    with_api(act)
