"""`mintage neurons`: a concept's neuron from a run, its table and pictures, and one line for what is wrong."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from typer.testing import Result

from handlers.archive import pack
from handlers.compute.model import load
from service.cli import app
from tests.support.command_line import CliRunner
from tests.support.direct import classify
from tests.training.fakes import blobs, small_recipe
from tests.training.neurons.fakes import faces, others, small_autoencoder_recipe
from training.data import LabelledImages
from training.loop.loop import train
from training.neurons.concepts import read_concepts


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINTAGE_CACHE_DIR", "off")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setattr("training.neurons.pictures.STEPS", 20)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "small"
    images = np.concatenate([faces(100), others(900)])
    train(small_autoencoder_recipe(), LabelledImages(images, np.full(len(images), -1), (), "drawn"), folder)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, without concepts."""
    return Path(shutil.copytree(trained, tmp_path / "small"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of faces and of others, in two classes and apart, of another size than the run's."""
    folder = tmp_path_factory.mktemp("data")
    write(folder / "both" / "face", faces(60, seed=7, side=24))
    write(folder / "both" / "other", others(130, seed=8, side=20))
    write(folder / "face", faces(12, seed=17))
    write(folder / "other", others(12, seed=18))
    write(folder / "one", faces(1))
    return folder


def write(folder: Path, images: NDArray[np.uint8]) -> None:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number}.png")


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["neurons", *map(str, arguments)])


def found(run: Path, data: Path, *arguments: object) -> Result:
    few = ("--filters", 100)
    sources = ("--positives", data / "both" / "face", "--distractors", data / "both" / "other")
    return invoke("find", run, "--concept", "face", *sources, *few, *arguments)


def test_a_neuron_is_found_among_two_sources_brought_to_the_run_s_size(run: Path, data: Path) -> None:
    second = ("--second-positives", data / "face", "--second-distractors", data / "other")

    result = found(run, data, "--no-match", *second, "--compare", f"itself={run}")

    assert result.exit_code == 0, result.stderr
    for row in ("best neuron", "itself", "random weights", "image statistics", "always the majority"):
        assert row in result.stdout
    assert "60 images show face, 110 do not" in result.stdout
    assert "On a second test set, 12 against 12 images" in result.stdout
    assert "search of small" in result.stderr
    (concept,) = read_concepts(run)
    assert concept.accuracy > 0.8


def test_a_class_is_a_concept_too_and_json_has_every_number(run: Path, data: Path) -> None:
    write_both = ("--data", data / "both", "--class", "face", "--filters", 0)

    result = invoke("find", run, "--concept", "drawn-face", *write_both, "--json")

    assert result.exit_code == 0, result.stderr
    values = json.loads(result.stdout)
    assert values["concept"]["name"] == "drawn-face"
    assert values["rows"][0]["name"] == "best neuron"
    assert values["second"] is None
    assert "random linear filter" not in {row["name"] for row in values["rows"]}


def test_what_was_found_is_not_replaced_unless_told(run: Path, data: Path) -> None:
    assert found(run, data, "--no-match").exit_code == 0
    before = (run / "neurons/face/table.json").stat().st_mtime_ns

    again = found(run, data, "--no-match")

    assert again.exit_code == 2
    assert "has the concept 'face' already; --replace searches again" in again.stderr
    assert (run / "neurons/face/table.json").stat().st_mtime_ns == before
    assert found(run, data, "--no-match", "--replace").exit_code == 0
    assert (run / "neurons/face/table.json").stat().st_mtime_ns > before


def test_another_concept_leaves_the_first(run: Path, data: Path) -> None:
    assert found(run, data, "--no-match").exit_code == 0
    assert invoke("find", run, "--concept", "other", "--data", data / "both", "--filters", 0).exit_code == 0

    result = invoke("show", run)

    assert [concept.name for concept in read_concepts(run)] == ["face", "other"]
    assert all(name in result.stdout for name in ("face", "other", "AUROC"))


def test_a_concept_or_any_unit_can_be_looked_at(run: Path, data: Path) -> None:
    assert found(run, data, "--no-match").exit_code == 0

    measured = (run / "neurons/face/optimal.png").stat().st_mtime_ns

    concept = invoke("show", run, "face", "--json")
    unit = invoke("show", run, "--stage", 2, "--unit", 3, "--data", data / "both")

    assert [each["name"] for each in json.loads(concept.stdout)["concepts"]] == ["face"]
    assert unit.exit_code == 0, unit.stderr
    drawn = {path.name for path in (run / "shown" / "stage-2-unit-3").iterdir()}
    assert drawn == {"top.png", "optimal.png", "histogram.png", "invariance.png"}
    assert (run / "shown/face/optimal.png").exists()
    assert (run / "neurons/face/optimal.png").stat().st_mtime_ns == measured


def test_a_run_without_concepts_says_so(run: Path) -> None:
    assert "has no concepts yet" in invoke("show", run).stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["find", "{run}", "--concept", "face"], "give --positives and --distractors, or else --data"),
        (["find", "{run}", "--concept", "face", "--data", "{data}/both", "--positives", "x"], None),
        (["find", "{run}", "--concept", "x", "--data", "{data}/both"], "has no class 'x'; its classes are face, other"),
        (
            ["find", "{run}", "--concept", "face", "--positives", "{data}/one", "--distractors", "{data}/other"],
            "1 positives: give 4 at least",
        ),
        (
            ["find", "{run}", "--concept", "face", "--positives", "{data}/none", "--distractors", "{data}/other"],
            "none",
        ),
        (["find", "{run}", "--concept", "A", "--data", "{data}/both", "--class", "face"], "1 to 63 of a-z"),
        (
            ["find", "{run}", "--concept", "face", "--data", "{data}/both", "--second-positives", "{data}/face"],
            "a second test set needs",
        ),
        (
            ["find", "{run}", "--concept", "face", "--data", "{data}/both", "--compare", "{run}", "--compare", "{run}"],
            "name them: --compare NAME=RUN",
        ),
        (
            ["find", "{run}", "--concept", "face", "--positives", "{data}/both/face", "--distractors", "{data}/other"],
            "the two sides look too different; give more images, or --no-match",
        ),
        (["find", "{data}", "--concept", "face", "--data", "{data}/both"], "is not a run folder"),
        (["find", "{run}", "--concept", "face", "--data", "{data}/both", "--device", "x"], "--device x cannot be used"),
        (["show", "{run}", "nobody"], "has no concept 'nobody'; its concepts are none yet"),
        (["show", "{run}", "--stage", "3", "--unit", "99999"], "has no stage 3; its stages are 1 to 2"),
        (["show", "{run}", "--stage", "2", "--unit", "99999"], "has no unit 99999; its units are 0 to"),
        (["show", "{run}", "--stage", "2"], "name a concept, or else give --stage and --unit"),
        (["show", "{run}", "face", "--stage", "2", "--unit", "1"], "name a concept, or else give --stage and --unit"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments: list[str], message: str | None, run: Path, data: Path) -> None:
    result = invoke(*(each.format(run=run, data=data) for each in arguments))

    assert result.exit_code == 2, result.output
    assert (message or "give --positives and --distractors, or else --data") in result.stderr
    assert result.stderr.count("mintage: ") == 1
    assert read_concepts(run) == ()


def test_a_run_of_another_family_has_no_neurons(data: Path, tmp_path: Path) -> None:
    train(small_recipe(), blobs(), tmp_path / "gan")

    result = invoke("find", tmp_path / "gan", "--concept", "face", "--data", data / "both")

    assert result.exit_code == 2
    assert "has no neurons to search" in result.stderr


def test_a_classifier_of_its_units_is_packed_and_serves_classes(run: Path, data: Path, tmp_path: Path) -> None:
    result = invoke("classify", run, "--data", data / "both", "--run", tmp_path / "out", "--fine-tune", 1)

    assert result.exit_code == 0, result.stderr
    assert "packs it into an archive" in result.stdout
    packed = pack(tmp_path / "out", "classifier", tmp_path / "classifier.mar", micro_batch=4)
    with zipfile.ZipFile(packed.path) as archive:
        archive.extractall(tmp_path / "unpacked")
    model = load(tmp_path / "unpacked", "classifier", torch.device("cpu"))
    probabilities, generated = classify(model, np.concatenate([faces(20, seed=31), others(20, seed=32)]))
    assert (probabilities.argmax(1) == np.repeat([0, 1], 20)).mean() > 0.7
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(generated, 0.5, rtol=1e-5)


def test_a_classifier_stands_beside_the_run_and_json_has_its_accuracy(run: Path, data: Path) -> None:
    values = json.loads(invoke("classify", run, "--data", data / "both", "--json").stdout)

    assert values["run"] == str(run.with_name("small-classifier"))
    assert values["train_accuracy"] > 0.7
    assert "exists and is not empty" in invoke("classify", run, "--data", data / "both").stderr
