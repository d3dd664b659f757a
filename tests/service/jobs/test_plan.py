from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.jobs.formulas import formula, last_index, most_images, parsed
from service.jobs.plan import Plan, PlanError, Sampling, default_shard_size, new_job_id, read_plan, request_digest
from service.validation import JOB_NAME
from tests.support.plans import sample_plan, sampling, score_plan


@given(count=st.integers(1, 10_000), shard_size=st.integers(1, 3_000))
def test_the_shards_hold_every_sample_exactly_once(count: int, shard_size: int) -> None:
    plan = sample_plan(count=count, shard_size=shard_size)
    spans = [plan.span(shard) for shard in range(plan.shards)]
    assert [index for span in spans for index in span] == list(range(count))
    assert all(len(span) == shard_size for span in spans[:-1]) and 1 <= len(spans[-1]) <= shard_size


@pytest.mark.parametrize(
    ("count", "size"),
    [(1, 1024), (128 * 1024, 1024), (128 * 1024 + 1, 2048), (1_000_000, 8192), (100_000_000, 8192)],
)
def test_a_large_job_is_cut_into_larger_shards_unless_it_says_how_large(count: int, size: int) -> None:
    assert default_shard_size(count) == size


@pytest.mark.parametrize("plan", [sample_plan(), score_plan(sample_plan(), "b" * 64)])
def test_a_plan_survives_its_json(plan: object) -> None:
    assert read_plan(plan.to_json()) == plan  # type: ignore[attr-defined]


def test_a_plan_is_named_by_its_content() -> None:
    assert sample_plan().digest == sample_plan().digest != sample_plan(count=11).digest


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", 1),
        ("job", "../x"),
        ("prefix", "a/../b"),
        ("count", 0),
        ("count", "5"),
        ("new_field", 1),
        ("ttl_ms", -1),
        ("labels", {"A": ""}),
    ],
)
def test_a_damaged_or_newer_plan_is_refused_by_name_of_the_field(name: str, value: object) -> None:
    fields = json.loads(sample_plan().to_json()) | {name: value}
    with pytest.raises(PlanError, match=name):
        read_plan(json.dumps(fields))


@pytest.mark.parametrize(
    "plan", [sample_plan(format="safetensors"), score_plan(sample_plan(), "b" * 64, format="parquet")]
)
def test_a_plan_in_a_format_of_the_other_kind_is_refused(plan: Plan) -> None:
    with pytest.raises(PlanError, match="format"):
        read_plan(plan.to_json())


def test_a_plan_in_tars_has_the_bytes_that_its_version_always_had() -> None:
    digest = "f6bc18924492f76677f1734db5af51153fdb9689b6b97e963d768a3798a12a2e"
    assert sample_plan(sampling=Sampling(seed=7, encoder="e 1", max_images_per_second=0.0)).digest == digest


def test_a_plan_of_another_version_says_what_to_do() -> None:
    fields = json.loads(sample_plan().to_json()) | {"version": 1}
    with pytest.raises(PlanError, match="create the job anew"):
        read_plan(json.dumps(fields))


def test_a_plan_of_both_kinds_is_refused() -> None:
    fields = json.loads(sample_plan().to_json())
    fields["scoring"] = json.loads(score_plan(sample_plan(), "b" * 64).to_json())["scoring"]
    with pytest.raises(PlanError, match="exactly one"):
        read_plan(json.dumps(fields))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"x"'])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(PlanError):
        read_plan(text)


def test_job_ids_sort_by_time_and_are_valid_names() -> None:
    ids = [new_job_id(milliseconds) for milliseconds in (0, 1, 1_700_000_000_000, 1_700_000_000_001, 2**47)]
    assert ids == sorted(ids)
    assert all(JOB_NAME.fullmatch(f"jobs/{job}") and len(job) == 16 for job in ids)
    assert len({new_job_id(5) for _ in range(1000)}) == 1000


def test_equal_parameters_have_equal_digests_whatever_their_order() -> None:
    assert request_digest({"a": 1, "b": 2.5}) == request_digest({"b": 2.5, "a": 1}) != request_digest({"a": 1})


def test_a_plan_without_options_is_written_as_before_there_were_any() -> None:
    text = sample_plan().to_json()
    assert b"priority" not in text and b"client" not in text
    assert b"labels" not in text and b"ttl" not in text and b"failed" not in text
    asked = sample_plan(priority=-3, client="lab-7", labels={"a": "ü"}, ttl_ms=1000, max_failed_shards=0)
    assert read_plan(asked.to_json()) == asked and b'"max_failed_shards":0' in asked.to_json()


def test_drawn_latents_are_kept_in_the_plan_and_samples_leave_no_trace_of_them() -> None:
    drawn = dataclasses.replace(
        sampling(), latents=("0#1", "0#1 + 2 * turn"), directions={"turn": (0.5, -1.0)}, index_step=2, class_index=0
    )
    plan = sample_plan(sampling=drawn)
    assert read_plan(plan.to_json()) == plan and hash(plan) is not None
    assert b"latents" not in sample_plan().to_json() and b"index_step" not in sample_plan().to_json()


def test_image_i_is_formula_i_mod_n_with_later_samples() -> None:
    drawn = dataclasses.replace(sampling(), latents=("3#1 - turn", "[1, 2]", "mean(3#1, 4#5)"), index_step=10)
    assert [formula(drawn, index) for index in (0, 1, 2, 3, 4, 8)] == [
        "3#1 - turn",
        "[1, 2]",
        "mean(3#1, 4#5)",
        "3#11 - turn",
        "[1, 2]",
        "mean(3#21, 4#25)",
    ]
    latents = parsed(drawn)
    assert [last_index(latents, count, 10) for count in (1, 2, 3, 4, 5, 6)] == [1, 1, 5, 11, 11, 15]
    assert last_index(latents[1:2], 10, 10) == -1


@pytest.mark.parametrize("text", ["0#", "0#1 * 0:1:2"])
def test_a_plan_whose_formulas_are_none_is_refused_where_they_are_read(text: str) -> None:
    with pytest.raises(PlanError, match=r"sampling\.latents"):
        parsed(dataclasses.replace(sampling(), latents=(text,)))


def test_a_request_of_a_job_has_so_many_images_as_its_formulas_allow() -> None:
    long = "mean(" + ", ".join(["0#1"] * 999) + ")"
    plan = sample_plan(sampling=dataclasses.replace(sampling(), latents=("0#1", long)))
    assert (most_images(plan), most_images(sample_plan()) > 10**9) == (2, True)
