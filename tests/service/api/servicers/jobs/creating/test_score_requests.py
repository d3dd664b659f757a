"""Score jobs are created over the API: what they may be compared with and cut like, and which folders may be scored."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
from mintage.v1 import jobs_pb2

from service.api.servicers.jobs.creating import score_plans
from tests.support.image_folders import image_files
from tests.support.job_api import Api, Code, Use, refused, wrong_fields


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
        assert not job.score.source_passed_over
        (inputs / "photos/cats/notes.txt").write_text("x")
        beside = await api.score("", source_folder="photos/cats", shard_size=3)
        [told] = beside.score.source_passed_over
        assert (told.reason, told.count, list(told.first)) == (
            "files that are no images",
            1,
            ["notes.txt"],
        )
        assert beside.score.source_listing == digest
        assert (await api.ledger.job(beside.name[5:])).plan.to_json().count(b"notes.txt") == 1
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
