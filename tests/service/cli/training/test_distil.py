"""`mintage distil`: a student from a run, and one line for what is wrong."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from typer.testing import Result

from handlers.archive import pack
from handlers.compute.model import load
from service.cli import app
from tests.support.command_line import CliRunner
from tests.support.direct import classify
from tests.training.fakes import blobs, small_adversarial_recipe, small_recipe
from training.loop.loop import train
from training.networks.student import Student
from training.runs.checkpoint import load_run

SMALL = ("--images", 1600, "--set", "batch=16", "--set", "widths=4,5", "--set", "shift=0.5", "--set", "rate=0.01")


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINTAGE_CACHE_DIR", "off")
    monkeypatch.setenv("COLUMNS", "100")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "teacher"
    train(small_recipe(images=1600), blobs(90), folder)
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images without classes, twice as large as the teacher takes them."""
    folder = tmp_path_factory.mktemp("data")
    for number, image in enumerate(blobs(60, seed=2).images):
        Image.fromarray(image[..., 0]).resize((12, 12), Image.Resampling.NEAREST).save(folder / f"{number}.png")
    return folder


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["distil", *map(str, arguments)])


def test_a_student_of_images_alone_is_packed_and_served(teacher: Path, source: Path, tmp_path: Path) -> None:
    result = invoke(teacher, "--data", source, "--run", tmp_path / "run", *SMALL)

    assert result.exit_code == 0, result.stderr
    loaded, labelling, *_ = result.stderr.splitlines()
    assert loaded.endswith(": 60 images, 6x6 grey, no labels")
    assert labelling == "labelling: 60 views"
    assert f"finished {tmp_path / 'run'}: 1,600 of 1,600 images" in result.stdout
    packed = pack(tmp_path / "run", "classifier", tmp_path / "classifier.mar", micro_batch=4)
    with zipfile.ZipFile(packed.path) as archive:
        archive.extractall(tmp_path / "unpacked")
    model = load(tmp_path / "unpacked", "classifier", torch.device("cpu"))
    assert isinstance(model.network, Student)
    data = blobs(30, seed=5)
    probabilities, generated = classify(model, data.images)
    assert (probabilities.argmax(1) == data.labels).mean() > 0.8
    assert generated == pytest.approx(0.5, abs=1e-6)
    assert not [part for part in model.network.modules() if isinstance(part, torch.nn.BatchNorm2d)]


def test_json_tells_progress_and_the_end_and_the_same_command_resumes(
    teacher: Path, source: Path, tmp_path: Path
) -> None:
    command = (teacher, "--data", source, "--run", tmp_path / "run", *SMALL, "--seed", 4, "--json")

    first, again = invoke(*command), invoke(*command)

    assert first.exit_code == again.exit_code == 0
    lines = [json.loads(line) for line in first.stdout.splitlines()]
    assert lines[-1]["run"] == str(tmp_path / "run") and lines[-1]["ended"] == "finished"
    assert lines[0]["losses"].keys() == {"loss"}
    assert [json.loads(line)["images_seen"] for line in again.stdout.splitlines()] == [1600]
    assert load_run(tmp_path / "run").config.settings.seed == 4


def test_the_folder_is_named_after_the_teacher(
    teacher: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert invoke(teacher, "--data", source, *SMALL, "--limit", 30).exit_code == 0
    assert load_run(tmp_path / "runs" / "teacher-student").config.data_images == 30


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--data", "nowhere"], "nowhere"),
        (["--data", "{source}", "--set", "view=3"], "recipe student has no field 'view'"),
        (["--data", "{source}", "--set", "keep=0"], "keep='0': must lie in [0.01, 1]"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    arguments: list[str], message: str, teacher: Path, source: Path, tmp_path: Path
) -> None:
    result = invoke(teacher, *(each.format(source=source) for each in arguments), "--run", tmp_path / "run")

    assert result.exit_code == 2
    assert message in result.stderr
    assert not (tmp_path / "run").exists()


def test_a_run_without_a_classifier_teaches_nothing(source: Path, tmp_path: Path) -> None:
    train(small_adversarial_recipe(images=16), blobs(60), tmp_path / "gan")

    result = invoke(tmp_path / "gan", "--data", source, "--run", tmp_path / "run")

    assert result.exit_code == 2
    assert "gan-mnist trains no classifier" in result.stderr
