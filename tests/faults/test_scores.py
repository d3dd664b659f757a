"""Scores, their comparison and their table are the same to the last bit, whatever happened to who made them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from mintage.v1 import jobs_pb2

from tests.faults.engine import Engine, files, pictures, wait_until
from tests.faults.model_server import made_features, made_probabilities
from training.scores.classifier_score import classifier_score
from training.scores.frechet import Moments, frechet_distance
from training.scores.precision_recall import precision_recall

pytestmark = pytest.mark.e2e


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
