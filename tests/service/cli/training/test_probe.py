"""`mintage probe`: a classifier from a run, and one line for what is wrong."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import Result

from handlers.archive import pack
from handlers.compute.model import load
from service.cli import app
from tests.support.command_line import CliRunner
from tests.support.direct import classify
from tests.training.fakes import blobs, small_dcgan_recipe, small_recipe
from training.batches import to_tensor
from training.loop.loop import train
from training.networks.probe import ProbeClassifier
from training.runs.checkpoint import load_run


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINTAGE_CACHE_DIR", "off")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "dcgan"
    train(small_dcgan_recipe(images=32), blobs(90, side=32), folder)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder per class, with a training and a test split."""
    folder = tmp_path_factory.mktemp("data")
    for split, seed in (("train", 0), ("test", 1)):
        data = blobs(60, side=32, seed=seed)
        for number, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
            path = folder / split / data.classes[label] / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(path)
    return folder


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["probe", *map(str, arguments)])


def test_a_run_is_probed_and_a_classifier_written(run: Path, source: Path, tmp_path: Path) -> None:
    result = invoke(run, "--data", source, "--run", tmp_path / "out")

    assert result.exit_code == 0, result.stderr
    assert "validation" in result.stdout
    assert "448 features" in result.stdout
    assert f"mintage pack {tmp_path / 'out'}" in result.stdout.replace("\n", " ")
    assert load_run(tmp_path / "out").config.recipe == "probe"


def test_what_is_packed_of_it_serves_classes_and_the_discriminator_s_judgement(
    run: Path, source: Path, tmp_path: Path
) -> None:
    assert invoke(run, "--data", source, "--run", tmp_path / "out").exit_code == 0
    packed = pack(tmp_path / "out", "classifier", tmp_path / "classifier.mar", micro_batch=4)
    with zipfile.ZipFile(packed.path) as archive:
        archive.extractall(tmp_path / "unpacked")
    data = blobs(30, side=32, seed=2)

    model = load(tmp_path / "unpacked", "classifier", torch.device("cpu"))
    probabilities, generated = classify(model, data.images)

    assert (probabilities.argmax(1) == data.labels).mean() > 0.8
    network = model.network
    assert isinstance(network, ProbeClassifier)
    with torch.inference_mode():
        judged = network.discriminator(to_tensor(data.images)).sigmoid().numpy()
    np.testing.assert_allclose(generated, 1 - judged, rtol=1e-4)


def test_in_a_log_every_stage_is_a_line_on_stderr(run: Path, source: Path, tmp_path: Path) -> None:
    loaded, *lines = invoke(run, "--data", source, "--run", tmp_path / "out").stderr.splitlines()

    assert loaded.startswith(f"{source}: ")
    assert len(lines) >= 2
    assert all(line.rpartition(": ")[2].replace(",", "").isdigit() for line in lines)


def test_json_names_the_run_and_every_number(run: Path, source: Path, tmp_path: Path) -> None:
    result = invoke(run, "--data", source, "--run", tmp_path / "few", "--labels-per-class", 5, "--draws", 2, "--json")

    values = json.loads(result.stdout)
    assert values["run"] == str(tmp_path / "few")
    assert (values["labels"], values["draws"], values["test_images"]) == (15, 2, 60)
    assert values["test_accuracy"] > 0.5


def test_the_folder_stands_beside_the_run_unless_another_is_named(run: Path, source: Path) -> None:
    assert invoke(run, "--data", source, "--limit", 30).exit_code == 0
    assert load_run(run.with_name("dcgan-probe")).config.data_images == 30


def test_images_are_brought_to_the_size_of_the_run(run: Path, tmp_path: Path) -> None:
    data = blobs(30, side=20)
    for number, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
        path = tmp_path / "data" / data.classes[label] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[..., 0]).save(path)

    result = invoke(run, "--data", tmp_path / "data", "--run", tmp_path / "out", "--json")

    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["test_accuracy"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--data", "{source}", "--draws", "3"], "--draws needs --labels-per-class"),
        (["--data", "{source}", "--labels-per-class", "1000"], "ask for that many at most"),
        (["--data", "{source}", "--device", "nonsense"], "--device nonsense cannot be used"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str], message: str, run: Path, source: Path, tmp_path: Path
) -> None:
    result = invoke(run, *(each.format(source=source) for each in arguments), "--run", tmp_path / "out")

    assert result.exit_code == 2
    assert message in result.stderr
    assert [line for line in result.stderr.splitlines() if line.startswith("mintage: ")] == [
        result.stderr.splitlines()[-1]
    ]
    assert not (tmp_path / "out").exists()


def test_a_run_of_another_family_is_refused(source: Path, tmp_path: Path) -> None:
    train(small_recipe(), blobs(), tmp_path / "run")

    result = invoke(tmp_path / "run", "--data", source)

    assert result.exit_code == 2
    assert "a probe reads the convolutions of a DCGAN's run" in result.stderr
