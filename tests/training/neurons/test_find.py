from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL.PngImagePlugin import PngImageFile

from tests.training.fakes import blobs, small_recipe
from tests.training.neurons.fakes import faces, others, small_autoencoder_recipe
from training.data import LabelledImages
from training.errors import DataError, RecipeError, RunError
from training.loop.loop import train
from training.neurons.activations import LoadedRun, activations_of, fresh_network, load_autoencoder_run, seen_images
from training.neurons.concepts import Concept, read_concepts, with_concept
from training.neurons.examples import Examples
from training.neurons.find import Protocol, find_concept, name_of
from training.neurons.table import NEURON, RANDOM_WEIGHTS, STATISTICS
from training.runs.checkpoint import load_config, save_config


@pytest.fixture(autouse=True)
def short_ascents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.neurons.pictures.STEPS", 20)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    images = np.concatenate([faces(100), others(900)])
    train(small_autoencoder_recipe(), LabelledImages(images, np.full(len(images), -1), (), "drawn"), folder)
    return folder


@pytest.fixture(scope="module")
def trained(run: Path) -> LoadedRun:
    return load_autoencoder_run(run)


def test_activations_are_those_of_the_network_whatever_the_batch(
    trained: LoadedRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = others(70, seed=5)
    whole = activations_of(trained.network, images)
    monkeypatch.setattr("training.neurons.activations.IN_MEMORY_BYTES", 0)  # so that they go through a file

    alone = activations_of(trained.network, images[66:67])

    assert [found.shape[1] for found in whole] == [int(np.prod(shape)) for shape in trained.network.unit_shapes]
    for one, many in zip(alone, whole, strict=True):
        np.testing.assert_allclose(one[0], many[66], rtol=1e-3, atol=1e-4)


def test_what_the_first_stage_sees_is_normalised(trained: LoadedRun) -> None:
    seen = seen_images(trained.network, others(70))

    assert seen.shape == (70, 3, 16, 16)
    assert abs(float(seen.mean())) < 0.1
    assert float(seen.std()) == pytest.approx(1, abs=0.4)


def test_fresh_weights_are_those_of_their_seed(trained: LoadedRun) -> None:
    images = others(3)

    one, again, other = (activations_of(fresh_network(trained.config, seed=s), images)[1] for s in (1, 1, 2))

    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_concept_is_found_measured_and_kept(trained: LoadedRun, run: Path) -> None:
    examples = Examples.of(faces(120, seed=7), others(260, seed=8))
    second = Examples.of(faces(30, seed=17), others(30, seed=18))
    told: list[str] = []

    table = find_concept(
        trained,
        examples,
        Protocol(name="face", match=False, filters=200),
        compared={"itself": trained},
        second=second,
        source="Drawn.",
        begin=lambda name, total: told.append(name) or (lambda more: None),  # type: ignore[func-returns-value]
    )

    rows = {row.name: row for row in table.rows}
    assert rows[NEURON].honest > 0.9
    assert rows["itself"].honest == rows[NEURON].honest
    assert {"best unit of stage 1", "best unit of stage 2", RANDOM_WEIGHTS, STATISTICS} <= rows.keys()
    assert (table.positives, table.distractors) == (120, 221)
    assert table.second is not None
    assert table.second.accuracy > 0.8
    assert (table.second.positives, table.second.distractors) == (30, 30)
    assert read_concepts(run) == (table.concept,)
    written = json.loads((run / "neurons" / "face" / "table.json").read_text())
    assert written == json.loads(json.dumps(table.values()))
    assert next(row["published"] for row in written["rows"] if row["name"] == NEURON) == 0.817
    markdown = (run / "neurons" / "face" / "table.md").read_text()
    assert "Drawn." in markdown
    assert f"| {NEURON} |" in markdown
    for picture in ("top", "optimal", "histogram", "invariance"):
        with PngImageFile(run / "neurons" / "face" / f"{picture}.png") as drawn:
            assert f"face: stage {table.concept.stage}, unit {table.concept.unit}" in drawn.text["Title"]
    assert {"activations of small", "random filters", "smooth filters"} <= set(told)


def test_a_search_on_crops_measures_each_and_keeps_what_it_is_worth_on_whole_images(trained: LoadedRun) -> None:
    examples = Examples.of(faces(60, seed=7), others(120, seed=8))
    seen: list[int] = []

    def begin(name: str, total: int | None) -> Callable[[int], None]:
        seen.append(total or 0)
        return lambda more: None

    table = find_concept(
        trained, examples, Protocol(name="cut", match=False, filters=50, crops=(0.1, 0.2)), begin=begin
    )

    assert seen[1] == 3 * (table.positives + table.distractors)  # whole, and cut twice
    assert list(table.crops) == [0, 0.1, 0.2]
    whole = table.crops[0]
    assert (table.concept.accuracy, table.concept.auroc) == (whole.accuracy, whole.auroc)
    assert whole.positives + whole.distractors == table.concept.positives + table.concept.distractors
    mean = np.mean([each.accuracy for each in table.crops.values()])
    assert next(row.honest for row in table.rows if row.name == NEURON) == pytest.approx(mean)
    for found in table.crops.values():
        right = found.found * found.positives + (1 - found.false_alarms) * found.distractors
        assert right / (found.positives + found.distractors) == pytest.approx(found.accuracy)
    assert "20.0 % cut off at each end of either side" in table.to_markdown()
    assert [each["cut"] for each in table.values()["crops"]] == [0, 0.1, 0.2]


def test_a_concept_takes_the_place_of_the_one_of_its_name() -> None:
    numbers = {"stage": 1, "unit": 0, "sign": 1, "threshold": 0.0, "slope": 1.0, "intercept": 0.0, "auroc": 0.5}
    shares = {"accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6, "positives": 1, "distractors": 1}
    cat, dog = (Concept(name=name, **numbers, **shares) for name in ("cat", "dog"))  # type: ignore[arg-type]
    better = dataclasses.replace(cat, accuracy=0.6)

    assert with_concept((cat, dog), better) == (better, dog)
    assert with_concept((dog,), cat) == (dog, cat)


def test_the_same_search_gives_the_same_table(trained: LoadedRun) -> None:
    mixed = np.concatenate([faces(150, seed=7), others(150, seed=8)])
    examples = Examples.of(mixed[::3], np.concatenate([mixed[1::3], mixed[2::3]]))  # which look alike

    tables = [find_concept(trained, examples, Protocol(name="again", match=True, filters=50)) for _ in range(2)]

    assert tables[0].values() == tables[1].values()


def test_images_of_another_shape_are_refused(trained: LoadedRun) -> None:
    large = Examples.of(faces(6, side=20), others(6, side=20))
    grey = Examples.of(faces(6)[..., :1], others(6)[..., :1])

    for examples in (large, grey):
        with pytest.raises(DataError, match="load them with its size and channels"):
            find_concept(trained, examples, Protocol(name="face", match=False))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "A face!"}, "must be 1 to 63 of a-z"),
        ({"name": "face", "share": 1.0}, "must lie between 0 and 1"),
        ({"name": "face", "crops": (0.1, 0.5)}, "different shares of a side, up to 0.4"),
        ({"name": "face", "crops": (0.1, 0.1)}, "different shares of a side, up to 0.4"),
    ],
)
def test_a_protocol_that_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Protocol(match=False, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("stage", "unit", "message"),
    [
        (0, 0, "has no stage 0; its stages are 1 to 2"),
        (3, 0, "has no stage 3; its stages are 1 to 2"),
        (1, 99_999, "stage 1 of .* has no unit 99999; its units are 0 to 99"),
        (1, -1, "has no unit -1"),
    ],
)
def test_a_unit_that_is_not_there_is_refused(trained: LoadedRun, stage: int, unit: int, message: str) -> None:
    with pytest.raises(RunError, match=message):
        trained.must_have(stage, unit)


def test_a_run_without_neurons_is_refused(tmp_path: Path) -> None:
    train(small_recipe(), blobs(), tmp_path / "gan")

    with pytest.raises(RecipeError, match="trains no autoencoder, and has no neurons to search"):
        load_autoencoder_run(tmp_path / "gan")


def test_a_run_that_is_not_trained_yet_is_refused(run: Path, tmp_path: Path) -> None:
    save_config(tmp_path / "begun", load_config(run))

    with pytest.raises(RunError, match="train it with"):
        load_autoencoder_run(tmp_path / "begun")


def test_a_run_is_called_by_what_it_lacks(trained: LoadedRun) -> None:
    def lacking(**fields: object) -> LoadedRun:
        config = dataclasses.replace(trained.config, settings=small_autoencoder_recipe(**fields))
        return LoadedRun(dataclasses.replace(trained.run, config=config), trained.network)

    assert name_of(trained) == "small"
    assert name_of(lacking(contrast_window=0)) == "no normalisation"
    assert name_of(lacking(units="tanh")) == "plain autoencoder"
