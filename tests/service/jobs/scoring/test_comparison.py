"""A score job compares its images with those of another: the numbers of `training.scores`, the same every time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from service.jobs.plan import Plan
from service.jobs.scoring import statistics
from service.jobs.storage.local_store import LocalStore
from tests.support.scored import CONCEPTS, against, finished, made_source, plan_of, rows_of
from training.scores.chosen import chosen_images
from training.scores.classifier_score import classifier_score
from training.scores.frechet import Moments, frechet_distance, joined
from training.scores.halves import two_halves
from training.scores.kernel_distance import kernel_distance
from training.scores.precision_recall import precision_recall

ONE, TWO = "01k0000000000001", "01k0000000000002"


def compared(root: Path, order: list[int] | None = None, **size: int) -> tuple[Plan, dict[str, Any]]:
    source = made_source(root, **size)
    reference = plan_of(source, ONE)
    ending = finished(root, reference, seed=1)
    plan = plan_of(source, TWO, **against(reference, ending))
    result = finished(root, plan, seed=2, order=order).result
    assert result is not None
    return plan, result


def by_shards(plan: Plan, features: np.ndarray) -> Moments:
    return joined({k: Moments.of(features[plan.span(k).start : plan.span(k).stop]) for k in range(plan.shards)})


def test_the_numbers_are_those_of_the_scores_over_the_same_features(tmp_path: Path) -> None:
    plan, result = compared(tmp_path)
    real, made = rows_of(plan, 1), rows_of(plan, 2)
    found, distance = result["comparison"], frechet_distance(*(by_shards(plan, r["features"]) for r in (real, made)))
    kernel = kernel_distance(real["features"], made["features"], subset_size=40)
    shares = precision_recall(real["features"], made["features"])
    assert found["frechet_distance"] == distance.value > 0
    assert (found["kernel_distance"], found["kernel_distance_deviation"]) == (kernel.mean, kernel.std)
    shown = [found[name] for name in ("precision", "recall", "density", "coverage")]
    assert shown == [shares.precision, shares.recall, shares.density, shares.coverage]
    assert (found["reference_images"], found["images"], found["features"], found["notes"]) == (40, 40, 5, [])
    score = classifier_score(made["probabilities"], splits=2)
    assert (result["mean"], result["standard_deviation"]) == (score.mean, score.std)
    assert result["mean_generated_probability"] == pytest.approx(made["generated"].astype(np.float64).mean(), abs=1e-9)


def test_the_reference_is_compared_with_itself_by_halves(tmp_path: Path) -> None:
    plan, result = compared(tmp_path)
    features = rows_of(plan, 1)["features"]
    one, other = (features[half] for half in two_halves(40, seed=0))
    found = result["comparison"]["reference_against_itself"]
    shares = precision_recall(one, other)
    assert found["compared_images"] == [20, 20] and found["notes"] == []
    assert found["frechet_distance"] == frechet_distance(Moments.of(one), Moments.of(other)).value
    assert found["kernel_distance"] == kernel_distance(one, other, subset_size=20).mean
    assert [found[name] for name in ("precision", "coverage")] == [shares.precision, shares.coverage]


def test_every_bit_is_the_same_whichever_shard_was_finished_first(tmp_path: Path) -> None:
    files = []
    for name, order in (("one", [0, 1, 2, 3, 4, 5]), ("two", [4, 0, 5, 2, 1, 3])):
        plan, _ = compared(tmp_path / name, order)
        folder = tmp_path / name / plan.prefix
        files.append([(folder / file).read_bytes() for file in ("score.json", "images.parquet", "manifest.json")])
    assert files[0] == files[1]


def test_a_reference_is_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = made_source(tmp_path)
    reference = plan_of(source, ONE)
    ending = finished(tmp_path, reference, seed=1)
    results = []
    for number, job in enumerate((TWO, "01k0000000000003")):
        if number:
            # it is not needed any more
            (tmp_path / reference.prefix / "data/scores-00002-of-00006.safetensors").unlink()
        results.append(finished(tmp_path, plan_of(source, job, **against(reference, ending)), seed=2).result)
    one, two = (result["comparison"] for result in results if result)
    assert one == two


@pytest.mark.parametrize("file", ["reference.safetensors", "reference.json"])
def test_statistics_that_were_changed_are_made_anew(tmp_path: Path, file: str) -> None:
    plan, result = compared(tmp_path)
    assert plan.scoring is not None
    path = tmp_path / plan.scoring.reference_prefix / file
    sound = path.read_bytes()
    path.write_bytes(sound[:-9] + b"x" + sound[-8:])
    source = made_source(tmp_path)
    again = plan_of(source, "01k0000000000003", **{name: getattr(plan.scoring, name) for name in REFERENCE})
    ending = finished(tmp_path, again, seed=2)
    assert ending.result is not None and ending.result["comparison"] == result["comparison"]
    assert path.read_bytes() == sound


REFERENCE = ("reference_job", "reference_prefix", "reference_root_digest")


def test_a_reference_whose_shards_were_changed_is_refused(tmp_path: Path) -> None:
    source = made_source(tmp_path)
    reference = plan_of(source, ONE)
    ending = finished(tmp_path, reference, seed=1)
    path = tmp_path / reference.prefix / "data/scores-00001-of-00006.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    ending = finished(tmp_path, plan_of(source, TWO, **against(reference, ending)), seed=2)
    assert ending.state == "FAILED" and f"the reference jobs/{ONE}" in ending.error and "was changed" in ending.error


def test_a_reference_that_is_gone_fails_the_job_and_says_so(tmp_path: Path) -> None:
    source = made_source(tmp_path)
    reference = plan_of(source, ONE)
    ending = finished(tmp_path, reference, seed=1)
    LocalStore(tmp_path).output(reference.prefix).remove_folder()
    ending = finished(tmp_path, plan_of(source, TWO, **against(reference, ending)), seed=2)
    assert ending.state == "FAILED" and ending.error.endswith(f"the reference jobs/{ONE} is gone")


def test_small_sets_get_what_can_be_said_and_a_note_for_the_rest(tmp_path: Path) -> None:
    _, result = compared(tmp_path, count=5, shard_size=3)
    found = result["comparison"]
    assert found["frechet_distance"] is None and found["precision"] is None and found["coverage"] is None
    assert isinstance(found["kernel_distance"], float)
    assert len(found["notes"]) == 2
    assert "Frechet distance: 5 images are too few for 5 features" in found["notes"][0]
    assert "precision and recall: 5 real images are too few; give at least 6" in found["notes"][1]


def test_of_many_images_the_same_few_are_compared_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "MAX_ROWS", 20)
    plan, result = compared(tmp_path)
    rows = [rows_of(plan, seed)["features"] for seed in (1, 2)]
    chosen = [each[chosen_images(40, 20)] for each in rows]
    found = result["comparison"]
    assert found["compared_images"] == [20, 20]
    assert found["precision"] == precision_recall(*chosen).precision
    assert found["frechet_distance"] == frechet_distance(*(by_shards(plan, each) for each in rows)).value


def test_concept_neurons_are_counted_and_compared(tmp_path: Path) -> None:
    source = made_source(tmp_path)
    reference = plan_of(source, ONE, classes=(), concepts=CONCEPTS)
    ending = finished(tmp_path, reference, seed=1)
    plan = plan_of(source, TWO, classes=(), concepts=CONCEPTS, **against(reference, ending))
    result, rows = finished(tmp_path, plan, seed=2).result, rows_of(plan, 2)
    assert result is not None and "mean" not in result
    for number, (concept, found) in enumerate(zip(CONCEPTS, result["concepts"], strict=True)):
        column = rows["activations"][:, number].astype(np.float64)
        assert found["detected"] == (concept.sign * column > concept.threshold).sum() > 0
        assert found["mean_activation"] == pytest.approx(column.mean(), abs=1e-12)
    assert result["comparison"]["frechet_distance"] > 0
    table = pq.read_table(tmp_path / plan.prefix / "images.parquet")
    expected = ["index", "activation.cat", "detected.cat", "activation.dog", "detected.dog"]
    assert table.column_names == expected
    assert np.array_equal(table["activation.dog"].to_numpy(), rows["activations"][:, 1])


def test_the_table_has_a_row_for_each_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.jobs.scoring.image_table.ROW_GROUP", 16)
    plan, _ = compared(tmp_path)
    file, rows = pq.ParquetFile(tmp_path / plan.prefix / "images.parquet"), rows_of(plan, 2)
    assert [file.metadata.row_group(k).num_rows for k in range(file.num_row_groups)] == [16, 16, 8]
    table = file.read()
    assert table.column_names == ["index", "class", "probability", "generated"]
    assert table["index"].to_pylist() == list(range(40))
    best = rows["probabilities"].argmax(axis=1)
    assert table["class"].to_pylist() == [("even", "odd")[k] for k in best]
    assert np.array_equal(table["probability"].to_numpy(), rows["probabilities"].max(axis=1))
    assert np.array_equal(table["generated"].to_numpy(), rows["generated"])
