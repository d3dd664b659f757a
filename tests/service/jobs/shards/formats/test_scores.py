"""The shard of a score job holds every row in its place, whoever wrote it in whatever pieces."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load, load_file

from service.jobs.plan import Plan, ScoredConcept
from service.jobs.shards.formats.scores import ScoreWriter, SourceStats, open_scores, source_stats
from service.jobs.shards.marker import Marker
from service.jobs.shards.publish import publish
from service.jobs.storage.local_output import LocalOutput
from service.jobs.storage.output import OutputError
from tests.support.plans import sample_plan, score_plan
from tests.support.shards import marker_of

PLAN = score_plan(sample_plan(), "b" * 64)
RANDOM = np.random.default_rng(5)


def with_scoring(plan: Plan = PLAN, **changes: Any) -> Plan:
    assert plan.scoring is not None
    return dataclasses.replace(plan, scoring=dataclasses.replace(plan.scoring, **changes))


FEATURES = with_scoring(features=5)
CONCEPTS = with_scoring(
    classes=(),
    features=3,
    concepts=(ScoredConcept(name="cat", sign=1, threshold=0.5), ScoredConcept(name="dog", sign=-1, threshold=0.0)),
)
FOLDER = with_scoring(
    FEATURES, source_job="", source_prefix="", source_root_digest="", source_folder="x", source_listing="c" * 64
)


def rows_of(plan: Plan, count: int = 4) -> dict[str, np.ndarray]:
    if plan.scoring and plan.scoring.concepts:
        activations = RANDOM.normal(size=(count, 2)).astype(np.float32)
        features = RANDOM.normal(size=(count, 3)).astype(np.float32)
        return {"activations": activations, "detected": activations > 0, "features": features}
    share = RANDOM.random(count).astype(np.float32)
    rows = {"probabilities": np.stack([share, 1 - share], axis=1), "generated": share}
    if plan.scoring and plan.scoring.features:
        rows["features"] = RANDOM.normal(size=(count, 5)).astype(np.float32)
    if plan.scoring and plan.scoring.source_folder:
        rows["readable"] = np.arange(count) != 2
    return rows


def written(plan: Plan, rows: dict[str, np.ndarray], cuts: list[int], read: SourceStats | None = None) -> bytes:
    file = io.BytesIO()
    writer = ScoreWriter(file, plan, 0)
    for start, stop in zip([0, *cuts], cuts, strict=False):
        writer.add(**{name: values[start:stop] for name, values in rows.items()})
    writer.finish(read)
    assert (writer.size, writer.digest) == (len(file.getvalue()), hashlib.sha256(file.getvalue()).hexdigest())
    return file.getvalue()


def put(output: LocalOutput, plan: Plan, rows: dict[str, np.ndarray], read: SourceStats | None = None) -> Marker:
    with output.temporary("t") as temporary:
        writer = ScoreWriter(temporary.file, plan, 0)
        writer.add(**rows)
        writer.finish(read)
        marker = marker_of(plan, 0, writer.digest, writer.size)
        publish(output, plan, marker, temporary)
    return marker


@pytest.mark.parametrize("plan", [PLAN, FEATURES, CONCEPTS, FOLDER], ids=["plain", "features", "concepts", "folder"])
def test_the_rows_of_all_columns_are_safetensors_whatever_the_pieces(plan: Plan) -> None:
    rows = rows_of(plan)
    read = SourceStats("d" * 64, 3) if "readable" in rows else None
    one, two = written(plan, rows, [4], read), written(plan, rows, [1, 2, 4], read)
    assert one == two
    tensors = load(one)
    assert tensors.keys() == rows.keys()
    for name, values in rows.items():
        assert np.array_equal(tensors[name], values)


def test_a_shard_without_features_has_the_bytes_that_earlier_versions_wrote() -> None:
    probabilities = np.array([[0.25, 0.75], [1, 0], [0.5, 0.5], [0, 1]], np.float32)
    generated = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    data = written(PLAN, {"probabilities": probabilities, "generated": generated}, [4])
    assert hashlib.sha256(data).hexdigest() == "aa3c19a35dec2ee202b4a9d174200bc58a2c5f54c47a827eccf8ecb7ead258eb"


def test_a_classifier_that_cannot_tell_generated_images_leaves_that_out() -> None:
    file = io.BytesIO()
    writer = ScoreWriter(file, PLAN, 0)
    writer.add(probabilities=np.full((2, 2), 0.5, np.float32), generated=None)
    with pytest.raises(ValueError, match="for others"):
        writer.add(probabilities=np.full((2, 2), 0.5, np.float32), generated=np.ones(2, np.float32))
    with pytest.raises(ValueError, match="2 of 4 rows"):
        writer.finish()
    writer.add(probabilities=np.full((2, 2), 0.5, np.float32), generated=None)
    writer.finish()
    assert list(load(file.getvalue())) == ["probabilities"]
    with pytest.raises(ValueError, match="probabilities is"):
        writer.add(probabilities=np.full((1, 2), 0.5, np.float32), generated=None)


@pytest.mark.parametrize("plan", [PLAN, FEATURES, CONCEPTS, FOLDER], ids=["plain", "features", "concepts", "folder"])
def test_rows_are_read_back_from_anywhere(tmp_path: Path, plan: Plan) -> None:
    output, rows = LocalOutput(tmp_path, plan.prefix), rows_of(plan)
    marker = put(output, plan, rows, SourceStats("d" * 64, 3) if "readable" in rows else None)
    with open_scores(output, plan, marker) as reader:
        for name, values in rows.items():
            assert np.array_equal(reader.rows(name, range(1, 3)), values[1:3])
            assert np.array_equal(reader.rows(name, range(4)), values)


def test_what_was_read_of_a_folder_is_part_of_the_shard(tmp_path: Path) -> None:
    output, rows = LocalOutput(tmp_path, FOLDER.prefix), rows_of(FOLDER)
    assert source_stats(output, FOLDER, 0) is None
    put(output, FOLDER, rows, SourceStats("d" * 64, 3))
    assert source_stats(output, FOLDER, 0) == SourceStats("d" * 64, 3)
    assert written(FOLDER, rows, [4], SourceStats("d" * 64, 3)) != written(FOLDER, rows, [4], SourceStats("e" * 64, 3))


def test_a_shard_of_another_plan_is_not_believed(tmp_path: Path) -> None:
    output = LocalOutput(tmp_path, PLAN.prefix)
    marker = put(output, FEATURES, rows_of(FEATURES))
    with pytest.raises(OutputError, match="does not hold the scores"), open_scores(output, PLAN, marker):
        pass


@pytest.mark.parametrize("data", [b"", b"\xff" * 100, b"\x08" + bytes(7) + b"[1,2,3,]", b"\x02" + bytes(7) + b"[]"])
def test_a_file_that_is_no_shard_is_not_believed(tmp_path: Path, data: bytes) -> None:
    output = LocalOutput(tmp_path, PLAN.prefix)
    output.put("data/scores-00000-of-00003.safetensors", data)
    marker = marker_of(PLAN, 0, hashlib.sha256(data).hexdigest(), len(data))
    with pytest.raises(OutputError, match="no safetensors"), open_scores(output, PLAN, marker):
        pass


def test_memory_does_not_grow_with_a_shard(tmp_path: Path) -> None:
    plan = dataclasses.replace(with_scoring(features=500), count=20_000, shard_size=20_000)
    piece = rows_of(PLAN, 100) | {"features": np.ones((100, 500), np.float32)}
    tracemalloc.start()
    with (tmp_path / "shard").open("w+b") as file:
        writer = ScoreWriter(file, plan, 0)
        for _ in range(200):
            writer.add(**piece)
        writer.finish()
        assert writer.digest
        _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert writer.size > 40e6
    assert most < 4e6
    assert load_file(tmp_path / "shard")["features"].shape == (20_000, 500)
