"""Scores, their comparison and their table are the same to the last bit, whatever happened to who made them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from mintage.v1 import jobs_pb2

from tests.faults.engine import Engine, wait_until
from tests.faults.outputs import files, pictures
from tests.support.formula import made_features, made_probabilities
from tests.support.image_folders import image_files, parquet_of, picture, png, tar_of
from training.scores.classifier_score import classifier_score
from training.scores.frechet import Moments, frechet_distance
from training.scores.precision_recall import precision_recall

pytestmark = pytest.mark.e2e


def one_tar(folder: Path, count: int) -> None:
    """A folder with one tar."""
    tar_of(folder / "a.tar", range(count))


def one_parquet_file(folder: Path, count: int) -> None:
    """A folder with one Parquet file."""
    parquet_of(folder / "a.parquet", range(count))


def markers(job: jobs_pb2.Job) -> list[str]:
    """What each shard of a job says that it scored."""
    return [
        json.loads(path.read_bytes())["source_digest"] for path in sorted(Path(job.output_uri).glob(".mintage/*.json"))
    ]


def told(job: jobs_pb2.Job) -> tuple[str, str, str]:
    """What a job says, without its name: its scores, and the digests of its table and its shards."""
    table = hashlib.sha256((Path(job.output_uri) / "images.parquet").read_bytes()).hexdigest()
    return str((job.classifier_score, job.comparison, job.concept_scores)), table, job.root_digest


def test_a_comparison_is_the_same_after_a_worker_was_killed_in_the_middle(engine: Engine) -> None:
    workers = engine.start_all(workers=2)
    real = engine.wait_for(engine.sample(60, 16, seed=1).name)
    made = engine.wait_for(engine.sample(50, 8, seed=2).name)
    reference = engine.wait_for(engine.score(real.name).name)
    undisturbed = engine.wait_for(engine.score(made.name, reference_job=reference.name).name)

    engine.models.pass_gate.clear()
    engine.models.open_for = 3
    job = engine.score(made.name, reference_job=reference.name)
    wait_until(lambda: engine.job(job.name).progress.images_done > 0, "the first images")
    engine.kill(workers[0])
    engine.models.pass_gate.set()
    disturbed = engine.wait_for(job.name)

    assert told(disturbed) == told(undisturbed)
    assert files(disturbed) == files(undisturbed)
    found, sets = disturbed.comparison, [pictures(real), pictures(made)]
    features = [made_features(images) for images in sets]
    assert (found.reference_images, found.images, found.features) == (60, 50, 4)
    assert found.frechet_distance == pytest.approx(frechet_distance(*map(Moments.of, features)).value, rel=1e-9)
    assert found.recall == precision_recall(*features).recall
    score = classifier_score(made_probabilities(sets[1]))
    assert (disturbed.classifier_score.mean, disturbed.classifier_score.images) == (score.mean, 50)


@pytest.mark.parametrize("point", ["mid_shard", "after_publish"])
@pytest.mark.parametrize("make", [image_files, one_tar, one_parquet_file])
def test_a_folder_is_scored_exactly_also_after_a_crash(
    engine: Engine, make: Callable[[Path, int], None], point: str
) -> None:
    make(engine.settings.inputs / "set", 20)
    engine.start_all()
    calm = engine.wait_for(engine.score("", source_folder="set", shard_size=6).name)
    engine.crash(point, shard=1)
    job = engine.wait_for(engine.score("", source_folder="set", shard_size=6, reference_job=calm.name).name)
    assert engine.crashes() == [], "nobody crashed"
    assert files(job) == files(calm) and job.classifier_score == calm.classifier_score
    assert markers(job) == markers(calm) and all(len(digest) == 64 for digest in markers(job))
    images = np.stack([picture(index) for index in range(20)])
    expected = classifier_score(made_probabilities(images))
    assert (job.classifier_score.mean, job.images_unreadable) == (expected.mean, 0)
    assert job.comparison.frechet_distance == pytest.approx(0, abs=1e-9)
    result = json.loads((Path(job.output_uri) / "score.json").read_bytes())
    assert (result["source_folder"], result["resize"]) == ("set", "none") and "unreadable" not in result
    assert result["source_digest"] == hashlib.sha256("".join(f"{d}\n" for d in markers(job)).encode()).hexdigest()


def test_what_cannot_be_read_is_left_out_and_counted(engine: Engine) -> None:
    folder = engine.settings.inputs / "set"
    image_files(folder, 20)
    for name in ("0/002.png", "1/008.png"):
        (folder / name).write_bytes(b"no image")
    (folder / "2/019.png").write_bytes(png(picture(19, shape=(32, 32, 3))))
    engine.start_all()
    job = engine.wait_for(engine.score("", source_folder="set", shard_size=6).name)
    kept = [index for index in range(19) if index not in (2, 8)]
    result = json.loads((Path(job.output_uri) / "score.json").read_bytes())
    assert (job.images_unreadable, job.classifier_score.images) == (2, 18)
    assert result["unreadable_images"] == ["0/002.png", "1/008.png"]
    assert result["resize"].startswith("1 images to 6x8")
    table = pq.read_table(Path(job.output_uri) / "images.parquet")
    assert table["source"][8].as_py() == "1/008.png" and table["class"][8].as_py() is None
    images = np.stack([picture(index) for index in kept])
    assert np.array_equal(table["probability"].to_numpy()[kept], made_probabilities(images).max(axis=1))

    (folder / "0/003.png").unlink()
    too_few = engine.score("", source_folder="set", shard_size=6)
    too_few = engine.wait_for(too_few.name, jobs_pb2.Job.State.STATE_FAILED)
    assert "SOURCE_DAMAGED: 2 of 19 images could not be read, at most 1 may" in too_few.error


def test_a_file_that_changes_meanwhile_fails_the_job_and_is_named(engine: Engine) -> None:
    folder = engine.settings.inputs / "set"
    image_files(folder, 12)
    job = engine.score("", source_folder="set", shard_size=6)
    (folder / "2/011.png").write_bytes(b"another")
    engine.start_all()
    job = engine.wait_for(job.name, jobs_pb2.Job.State.STATE_FAILED)
    assert "SOURCE_DAMAGED: set/2/011.png was changed since the job was accepted" in job.error


def test_neurons_say_what_they_see_of_a_whole_job(engine: Engine) -> None:
    engine.start_all()
    source = engine.wait_for(engine.sample(50, 8).name)
    reference = engine.wait_for(engine.score(source.name, model="models/eyes").name)
    job = engine.wait_for(engine.score(source.name, model="models/eyes", reference_job=reference.name).name)
    levels = pictures(source).reshape(50, -1).mean(axis=1, dtype=np.float64).astype(np.float32)
    dark, light = job.concept_scores
    assert (dark.concept, dark.detected, light.concept) == ("dark", (levels < 100).sum(), "light")
    assert light.mean_activation == pytest.approx(levels.astype(np.float64).mean(), abs=1e-9)
    assert not job.HasField("classifier_score")
    assert job.comparison.frechet_distance == pytest.approx(0, abs=1e-9) and job.comparison.precision == 1
