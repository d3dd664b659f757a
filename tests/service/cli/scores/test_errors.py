"""`mintage score --errors`: a run's classifier, judged on labelled images."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import Result

from service.cli import app
from tests.support.command_line import CliRunner
from tests.support.runs import tiny_config, tiny_run
from training.batches import predicted
from training.config import RunConfig
from training.data import load
from training.families import family_of
from training.runs.checkpoint import State, load_run, save_config, save_state, served_weights

CLASSES = tuple("0123456789")


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINTAGE_CACHE_DIR", "off")
    monkeypatch.setenv("COLUMNS", "80")


def digits_config(**fields: object) -> RunConfig:
    config = dataclasses.replace(tiny_config(labels=10), height=28, width=28, channels=1, classes=CLASSES)
    return dataclasses.replace(config, data_name="digits", **fields)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose classifier of digits has random weights."""
    return tiny_run(tmp_path_factory.mktemp("runs") / "tiny", config=digits_config())


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["score", *map(str, arguments)])


def judged(*arguments: object) -> dict[str, Any]:
    result = invoke(*arguments, "--errors", "--json")
    assert result.exit_code == 0, result.stderr
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def test_errors_are_those_of_the_averaged_classifier_on_the_test_images(run: Path) -> None:
    values = judged(run)

    network, test = family_of(digits_config()).classifier(), load("digits", "test")
    network.load_state_dict(served_weights(load_run(run), "classifier"))
    wrong = predicted(network.eval(), test.images) != test.labels
    assert (values["errors"], values["rate"]) == (wrong.sum(), wrong.mean())
    assert values["interval_95"][0] < values["rate"] < values["interval_95"][1]
    assert values["reference"] == {"name": "digits test", "images": 2000}
    assert values["training"] == {"data": "digits", "labels": 10, "seed": 1}
    assert values["data"]["train"] is None
    assert (values["data"]["test"]["images"], values["data"]["test"]["passed_over"]) == (2000, [])
    assert [each["name"] for each in values["classes"]] == list(CLASSES)
    assert sum(each["errors"] for each in values["classes"]) == values["errors"]
    assert sum(each["count"] for each in values["mistakes"]) == values["errors"]


def test_people_get_a_sentence_and_the_worst_classes(run: Path) -> None:
    values, result = judged(run), invoke(run, "--errors")

    lines = result.stdout.splitlines()
    assert result.exit_code == 0, result.stderr
    assert lines[0].startswith(
        f"{values['errors']:,} errors of 2,000 images of digits test: {values['rate']:.2%}, 95 %"
    )
    assert lines[1] == f"{run}: ssgan-digits, trained on digits, 10 labels, seed 1"
    assert lines[2].split() == ["class", "errors", "images", "rate", "mostly", "taken", "for"]
    worst = max(values["classes"], key=lambda each: each["rate"])
    assert lines[3].split()[0] == worst["name"]


def test_a_run_needs_no_generator(run: Path, tmp_path: Path) -> None:
    whole, bare = load_run(run), tmp_path / "bare"
    weights = {f"discriminator_average.{name}": tensor for name, tensor in served_weights(whole, "classifier").items()}
    save_config(bare, whole.config)
    save_state(bare, whole.config, weights=weights, state=State({}, 0, 0.0))

    assert judged(bare)["mistakes"] == judged(run)["mistakes"]


def test_other_images_and_the_training_split_can_be_judged(run: Path) -> None:
    values = judged(run, "digits", "--split", "train", "--limit", 50)

    assert values["reference"] == {"name": "digits train", "images": 50}
    assert [each["count"] for each in values["data"]["train"]["passed_over"]] == [9950]


def test_images_are_given_the_size_of_the_run(run: Path, tmp_path: Path) -> None:
    for name in CLASSES:
        (tmp_path / "test" / name).mkdir(parents=True)
        Image.fromarray(np.full((40, 50, 3), 9, np.uint8)).save(tmp_path / "test" / name / "1.png")

    assert judged(run, tmp_path)["reference"]["images"] == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{run}", "--parzen"], "--errors is about a classifier, not samples"),
        (["{run}", "-n", "5"], "--errors is about a classifier, not samples"),
        (["{tmp}"], "is not a run folder"),
        (["{run}", "{tmp}/plain", "--split", "test"], "has no test split; give --split train"),
        (["{run}", "{tmp}/plain", "--split", "train"], "plain train has no labels"),
        (["{run}", "{tmp}/named", "--split", "train"], "the classes cat, dog, but the classifier knows 0, 1, 2, 3, 4"),
        (["{run}", "--size", "32"], "knows images of [28, 28, 1] (H, W, C), not of [32, 32, 1]"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_status_two(
    run: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    for folder in ("plain", "named/cat", "named/dog"):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / folder / "1.png")

    result = invoke(*(argument.format(run=run, tmp=tmp_path) for argument in arguments), "--errors")

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert [line for line in result.stderr.splitlines() if line.startswith("mintage: ")] == [
        result.stderr.splitlines()[-1]
    ]
