from __future__ import annotations

import dataclasses
import hashlib
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from service.jobs.dispatch.finalize import ShardsDamaged, finalize, read_ending
from service.jobs.plan import Plan
from service.jobs.shards.formats.scores import ScoreWriter
from service.jobs.shards.marker import read_marker
from service.jobs.shards.publish import publish
from service.jobs.sources.choice import source_digest
from service.jobs.steps import Step, Steps
from service.jobs.storage.local_store import LocalStore
from tests.support.plans import sample_plan, score_plan
from tests.support.shards import make_shards, marker_of, pictures
from training.scores.classifier_score import classifier_score

PLAN = sample_plan()


def folder(root: Path, plan: Plan = PLAN) -> Path:
    return root / plan.prefix


def test_a_complete_job_is_signed_off(tmp_path: Path) -> None:
    make_shards(tmp_path, PLAN, range(3))
    ending = finalize(LocalStore(tmp_path), PLAN, cancelled=False, errors={})
    assert (ending.state, ending.error) == ("SUCCEEDED", "")
    manifest = json.loads((folder(tmp_path) / "manifest.json").read_bytes())
    assert [(s["shard"], s["first_index"], s["count"]) for s in manifest["shards"]] == [(0, 0, 4), (1, 4, 4), (2, 8, 2)]
    assert manifest["plan_digest"] == PLAN.digest and manifest["root_digest"] == ending.root_digest
    assert not (folder(tmp_path) / ".tmp").exists()


def test_anyone_can_check_the_root_digest_with_two_commands(tmp_path: Path) -> None:
    make_shards(tmp_path, PLAN, range(3))
    ending = finalize(LocalStore(tmp_path), PLAN, cancelled=False, errors={})
    command = "sha256sum data/*.tar | cut -c1-64 | sha256sum | cut -c1-64"
    printed = subprocess.run(command, shell=True, cwd=folder(tmp_path), capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == ending.root_digest


def test_finishing_again_changes_nothing(tmp_path: Path) -> None:
    make_shards(tmp_path, PLAN, range(3))
    first = finalize(LocalStore(tmp_path), PLAN, cancelled=False, errors={})
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert finalize(LocalStore(tmp_path), PLAN, cancelled=True, errors={0: "BAD: late"}) == first
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_two_dispatchers_write_the_same_manifest(tmp_path: Path) -> None:
    for root in (tmp_path / "one", tmp_path / "two"):
        make_shards(root, PLAN, range(3))
        finalize(LocalStore(root), PLAN, cancelled=False, errors={})
    one, two = (root / PLAN.prefix / "manifest.json" for root in (tmp_path / "one", tmp_path / "two"))
    assert one.read_bytes() == two.read_bytes()


def test_a_job_with_failed_shards_succeeds_in_part(tmp_path: Path) -> None:
    make_shards(tmp_path, PLAN, [0, 2])
    ending = finalize(LocalStore(tmp_path), PLAN, cancelled=False, errors={1: "NO_SPACE: full"})
    assert ending.state == "PARTIALLY_SUCCEEDED"
    assert ending.error == "1 of 3 shards failed; shard 1: NO_SPACE: full"
    assert list(ending.digests) == [0, 2] and ending.errors == {1: "NO_SPACE: full"}


def test_a_retried_job_is_signed_off_anew_and_an_earlier_dispatcher_changes_nothing(tmp_path: Path) -> None:
    make_shards(tmp_path, PLAN, [0, 2])
    finalize(LocalStore(tmp_path), PLAN, cancelled=False, errors={1: "NO_SPACE: full"})
    sheet = (folder(tmp_path) / ".mintage/contact-sheet.png").read_bytes()
    make_shards(tmp_path, PLAN, [1])
    ending = finalize(LocalStore(tmp_path), PLAN, cancelled=False, errors={}, retry_round=1)
    assert (ending.state, ending.round, list(ending.digests)) == ("SUCCEEDED", 1, [0, 1, 2])
    assert (folder(tmp_path) / ".mintage/contact-sheet.png").read_bytes() != sheet
    assert finalize(LocalStore(tmp_path), PLAN, cancelled=False, errors={1: "BAD: late"}) == ending
    assert finalize(LocalStore(tmp_path), PLAN, cancelled=False, errors={}, retry_round=1) == ending
    assert not (folder(tmp_path) / ".tmp").exists()


def test_a_job_without_any_shard_failed(tmp_path: Path) -> None:
    folder(tmp_path).mkdir(parents=True)
    ending = finalize(LocalStore(tmp_path), PLAN, cancelled=False, errors=dict.fromkeys(range(3), "BAD: x"))
    assert (ending.state, ending.error) == ("FAILED", "3 of 3 shards failed; shard 0: BAD: x")


def test_a_cancelled_job_keeps_its_finished_shards(tmp_path: Path) -> None:
    make_shards(tmp_path, PLAN, [1])
    ending = finalize(LocalStore(tmp_path), PLAN, cancelled=True, errors={})
    assert (ending.state, list(ending.digests), ending.errors) == ("CANCELLED", [1], {})


def committed(root: Path, plan: Plan = PLAN) -> dict[int, str]:
    markers = (read_marker(LocalStore(root).output(plan.prefix), shard) for shard in range(plan.shards))
    return {marker.shard: marker.digest for marker in markers if marker}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])  # the last byte of a marker is a line feed


HARM: dict[str, Callable[[Path], None]] = {
    "a deleted shard": lambda file: file.unlink(),
    "a shard cut short": cut,
    "a marker cut short": lambda file: cut(file.parent.parent / ".mintage/000001.json"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_shard_that_was_harmed_is_named_before_anything_is_signed(tmp_path: Path, harm: str) -> None:
    make_shards(tmp_path, PLAN, range(3))
    known = committed(tmp_path)
    HARM[harm](folder(tmp_path) / "data/train-00001-of-00003.tar")
    with pytest.raises(ShardsDamaged) as damaged:
        finalize(LocalStore(tmp_path), PLAN, cancelled=False, errors={}, committed=known)
    assert {finding.shard for finding in damaged.value.findings} == {1}
    assert not (folder(tmp_path) / "manifest.json").exists()


@pytest.mark.parametrize("harm", HARM)
def test_a_shard_that_stays_harmed_is_left_out(tmp_path: Path, harm: str) -> None:
    make_shards(tmp_path, PLAN, range(3))
    HARM[harm](folder(tmp_path) / "data/train-00001-of-00003.tar")
    ending = finalize(LocalStore(tmp_path), PLAN, cancelled=False, errors={})
    assert ending.state == "PARTIALLY_SUCCEEDED" and "OUTPUT_DAMAGED" in ending.error and "00001" in ending.error
    assert list(ending.digests) == [0, 2]


def test_a_shard_that_keeps_its_size_is_named_when_it_is_needed(tmp_path: Path) -> None:
    make_shards(tmp_path, PLAN, range(3))
    known, file = committed(tmp_path), folder(tmp_path) / "data/train-00001-of-00003.tar"
    file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(ShardsDamaged) as damaged:
        finalize(LocalStore(tmp_path), PLAN, cancelled=False, errors={}, committed=known)
    assert {finding.shard for finding in damaged.value.findings} == {1}


def test_a_damaged_manifest_is_written_again(tmp_path: Path) -> None:
    make_shards(tmp_path, PLAN, range(3))
    ending = finalize(LocalStore(tmp_path), PLAN, cancelled=False, errors={})
    manifest = folder(tmp_path) / "manifest.json"
    data = manifest.read_bytes()
    cut(manifest)
    assert finalize(LocalStore(tmp_path), PLAN, cancelled=False, errors={}) == ending
    assert manifest.read_bytes() == data


def sheet_of(root: Path) -> tuple[Image.Image, dict[str, str]]:
    """The contact sheet, and the texts in its file."""
    with PngImageFile(folder(root) / ".mintage/contact-sheet.png") as sheet:
        sheet.load()
        return sheet.convert("RGB"), dict(sheet.text)


def test_the_contact_sheet_spreads_over_the_whole_job_and_says_what_it_shows(tmp_path: Path) -> None:
    plan = sample_plan(count=1000, shard_size=300)
    make_shards(tmp_path, plan, range(4))
    finalize(LocalStore(tmp_path), plan, cancelled=False, errors={})
    _, text = sheet_of(tmp_path)
    rows = [tuple(map(int, row.split("-"))) for row in text["Indices"].split(", ")]
    assert len(rows) == 8 and all(last == first + 7 for first, last in rows)
    assert rows[0] == (0, 7) and rows[-1] == (992, 999)
    steps = np.diff([first for first, _ in rows])
    assert steps.min() >= steps.max() - 1
    assert (text["Model"], text["Model digest"], text["Seed"], text["First index"]) == ("digits", "a" * 64, "7", "0")
    assert text["Command"] == "mintage jobs sample digits --count 1000 --seed 7"
    assert text["Title"] == "1,000 images of digits"


def test_small_images_are_enlarged_on_the_contact_sheet_each_pixel_a_square(tmp_path: Path) -> None:
    plan = sample_plan(count=10, height=28, width=28)
    make_shards(tmp_path, plan, range(3))
    finalize(LocalStore(tmp_path), plan, cancelled=False, errors={})
    sheet, _ = sheet_of(tmp_path)
    expected = pictures(range(10), plan)[..., 0].repeat(3, axis=1).repeat(3, axis=2)
    found = np.asarray(sheet)[..., 0]
    top = int(np.flatnonzero((found[:, 28 : 28 + 84] == expected[0][0]).all(axis=1))[0])
    for k in range(8):
        assert (found[top : top + 84, 28 + k * 90 : 28 + k * 90 + 84] == expected[k]).all()


def test_the_contact_sheet_of_a_job_with_holes_shows_what_there_is(tmp_path: Path) -> None:
    plan = sample_plan(count=10)
    make_shards(tmp_path, plan, [0, 2])
    finalize(LocalStore(tmp_path), plan, cancelled=False, errors={1: "BAD: x"})
    _, text = sheet_of(tmp_path)
    assert text["Indices"] == "0-3, 8-9" and text["Title"] == "6 images of digits"


def test_large_images_are_made_smaller_on_the_contact_sheet(tmp_path: Path) -> None:
    plan = sample_plan(count=3, height=512, width=256, channels=3)
    make_shards(tmp_path, plan, range(1))
    finalize(LocalStore(tmp_path), plan, cancelled=False, errors={})
    sheet, _ = sheet_of(tmp_path)
    assert sheet.width == 480 + 2 * 28 and 128 < sheet.height < 2 * 256


def test_a_job_of_images_that_are_no_pictures_ends_without_a_contact_sheet(tmp_path: Path) -> None:
    plan = sample_plan(count=3, channels=2, format="npz")
    make_shards(tmp_path, plan, range(plan.shards))
    assert finalize(LocalStore(tmp_path), plan, cancelled=False, errors={}).state == "SUCCEEDED"
    assert not (folder(tmp_path) / ".mintage/contact-sheet.png").exists()


def scored(root: Path, *, generated: bool = True) -> tuple[Plan, np.ndarray]:
    make_shards(root, PLAN, range(3))
    source = finalize(LocalStore(root), PLAN, cancelled=False, errors={})
    plan = score_plan(PLAN, source.root_digest)
    chance = np.linspace(0.05, 0.95, plan.count, dtype=np.float32)
    probabilities = np.stack([chance, 1 - chance], axis=1)
    output = LocalStore(root).output(plan.prefix)
    for shard in range(plan.shards):
        rows = slice(plan.span(shard).start, plan.span(shard).stop)
        with output.temporary("t") as temporary:
            writer = ScoreWriter(temporary.file, plan, shard)
            writer.add(probabilities=probabilities[rows], generated=chance[rows] if generated else None)
            writer.finish()
            marker = marker_of(plan, shard, writer.digest, writer.size)
            publish(
                output,
                plan,
                dataclasses.replace(marker, source_digest=source_digest(LocalStore(root), plan, shard)),
                temporary,
            )
    return plan, probabilities


@pytest.mark.parametrize("generated", [True, False])
def test_a_score_job_ends_with_the_score_of_all_images(tmp_path: Path, generated: bool) -> None:
    plan, probabilities = scored(tmp_path, generated=generated)
    ending = finalize(LocalStore(tmp_path), plan, cancelled=False, errors={})
    assert ending.state == "SUCCEEDED" and ending.result is not None
    expected = classifier_score(probabilities, splits=2)
    assert (ending.result["mean"], ending.result["standard_deviation"]) == (expected.mean, expected.std)
    assert ending.result["class_counts"] == [5, 5] and ending.result["images"] == 10
    mean = ending.result["mean_generated_probability"]
    assert mean == (pytest.approx(0.5) if generated else None)
    assert json.loads((folder(tmp_path, plan) / "score.json").read_bytes()) == ending.result


def test_the_end_of_a_score_job_is_told_step_by_step(tmp_path: Path) -> None:
    plan, _ = scored(tmp_path)
    told: list[Step] = []

    class Noting(Steps):
        def note(self, step: Step) -> None:
            told.append(step)

    finalize(LocalStore(tmp_path), plan, cancelled=False, errors={}, inputs=tmp_path, steps=Noting())
    last = {step.name: (step.done, step.total) for step in told}
    assert last["reading markers"] == (3, 3) and last["adding up the scores"] == (10, 10)
    assert [*last][-3:] == ["writing the report", "writing the manifest", "writing SHA256SUMS"]
    assert [step.done for step in told if step.name == "adding up the scores"] == [0, 4, 8, 10]


def test_a_score_of_a_source_that_was_changed_is_refused(tmp_path: Path) -> None:
    plan, _ = scored(tmp_path)
    assert plan.scoring is not None
    marker = folder(tmp_path, plan) / ".mintage/000001.json"
    marker.write_bytes(marker.read_bytes().replace(source_digest(LocalStore(tmp_path), plan, 1).encode(), b"e" * 64))
    ending = finalize(LocalStore(tmp_path), plan, cancelled=False, errors={})
    assert ending.state == "FAILED" and "source" in ending.error


def test_a_score_shard_that_was_changed_is_refused(tmp_path: Path) -> None:
    plan, _ = scored(tmp_path)
    file = folder(tmp_path, plan) / "data/scores-00001-of-00003.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    ending = finalize(LocalStore(tmp_path), plan, cancelled=False, errors={})
    assert ending.state == "FAILED" and "was changed" in ending.error
    assert hashlib.sha256(data).hexdigest() not in ending.digests.values()


def test_a_score_job_with_a_failed_shard_has_no_score(tmp_path: Path) -> None:
    plan, _ = scored(tmp_path)
    for name in (".mintage/000001.json", "data/scores-00001-of-00003.safetensors"):
        (folder(tmp_path, plan) / name).unlink()
    ending = finalize(LocalStore(tmp_path), plan, cancelled=False, errors={1: "BAD: x"})
    assert (ending.state, ending.result) == ("FAILED", None)


def test_a_job_with_too_many_failed_shards_has_failed_and_keeps_what_was_made(tmp_path: Path) -> None:
    plan = sample_plan(count=24, max_failed_shards=1)
    make_shards(tmp_path, plan, [1])
    errors = {4: "BAD: later", 2: "BAD: first"}
    ending = finalize(LocalStore(tmp_path), plan, cancelled=False, errors=errors)
    assert ending.state == "FAILED" and ending.errors == errors and list(ending.digests) == [1]
    assert ending.error == "TOO_MANY_FAILED_SHARDS: 2 of 6 shards failed, at most 1 may; shard 2: BAD: first"
    assert read_ending(LocalStore(tmp_path).output(plan.prefix)) == ending
    enough = finalize(LocalStore(tmp_path), plan, cancelled=False, errors={2: "BAD: first"}, retry_round=1)
    assert enough.state == "PARTIALLY_SUCCEEDED"
