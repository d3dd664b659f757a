"""`mintage score --inception`: an extractor that sees every size, and what its scores are called."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from typer.testing import Result

from service.cli import app
from tests.support.command_line import CliRunner
from tests.support.runs import tiny_config, tiny_run
from training.extractors import inception
from training.extractors.extractor import ExtractorOutput
from training.scores.names import FORMULAS, INCEPTION, ScoreNames

COUNT = 30


class FakeInception:
    """Sees every size, as Inception does, and describes an image by three numbers."""

    sha256, image_shape, features, classes = 64 * "f", None, 3, 2
    facts = {"network": "Inception-v3, 2015-12-05", "known": True}  # noqa: RUF012 - as the real one's
    names: ScoreNames = INCEPTION

    def treatment(self, image_shape: tuple[int, int, int]) -> str:
        return f"{image_shape[1]}x{image_shape[0]}x{image_shape[2]} somehow"

    def __call__(self, images: NDArray[np.uint8], *, report: Callable[[int], None] = lambda _: None) -> ExtractorOutput:
        report(len(images))
        features = images.reshape(len(images), -1)[:, :3].astype(np.float32)
        return ExtractorOutput(features, np.full((len(images), 2), 0.5, np.float32))


@pytest.fixture(autouse=True)
def extractor(monkeypatch: pytest.MonkeyPatch) -> FakeInception:
    monkeypatch.setenv("MINTAGE_CACHE_DIR", "off")
    monkeypatch.setenv("COLUMNS", "80")
    fake = FakeInception()
    monkeypatch.setattr(inception.InceptionFeatures, "load", lambda path, *, sha256: fake)
    return fake


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of random photographs, 12 x 10, to train and to test with."""
    for split, seed in (("train", 1), ("test", 2)):
        (tmp_path / "data" / split).mkdir(parents=True)
        for number, image in enumerate(np.random.default_rng(seed).integers(0, 256, (COUNT, 10, 12, 3), np.uint8)):
            Image.fromarray(image).save(tmp_path / "data" / split / f"{number:02d}.png")
    return tmp_path / "data"


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["score", *map(str, arguments), "--inception", "weights.pth"])


def scored(*arguments: object) -> dict[str, Any]:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def test_real_images_take_the_shape_of_those_that_a_run_generates(photographs: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny_config(), channels=1)

    values = scored(tiny_run(tmp_path / "run", config=config), photographs, "-n", COUNT)

    assert values["reference"] == {"name": f"{photographs} test", "images": COUNT}
    assert values["scores"]["comparison"]["frechet"]["conditions"]["resize"] == "5x6x1 somehow"
    assert values["real_against_real"]["images"] == COUNT


def test_samples_in_a_folder_keep_their_size_and_colours(photographs: Path) -> None:
    values = scored(photographs / "train", photographs)

    assert values["scores"]["comparison"]["frechet"]["conditions"]["resize"] == "12x10x3 somehow"
    assert values["scores"]["comparison"] == values["real_against_real"]["comparison"]


def test_the_well_known_names_are_printed_for_the_well_known_file(photographs: Path) -> None:
    result = invoke(photographs / "train", photographs)

    assert result.exit_code == 0, result.stderr
    names = {line.split("  ")[0].strip() for line in result.stdout.splitlines()}
    assert {"Inception score", "FID", "KID"} <= names
    words = " ".join(result.stdout.split())
    assert f"extractor Inception-v3, 2015-12-05, sha256 {64 * 'f'}; k = 5" in words
    assert "both sides 12x10, colour, for the extractor resized 12x10x3 somehow" in words


def test_other_weights_give_other_names_and_a_remark(
    photographs: Path, extractor: FakeInception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extractor, "names", FORMULAS)
    monkeypatch.setattr(extractor, "facts", {**extractor.facts, "known": False})

    result = invoke(photographs / "train", photographs)

    assert "classifier score" in result.stdout
    assert "these weights are not the published ones: none of this is an Inception score, FID or KID" in result.stdout
    assert not any(line.startswith("FID") for line in result.stdout.splitlines())


def test_both_sides_get_the_size_that_is_asked_for(photographs: Path) -> None:
    values = scored(photographs / "train", photographs, "--size", 8)

    assert values["scores"]["comparison"]["frechet"]["conditions"]["resize"] == "8x8x3 somehow"
    assert values["scores"]["comparison"]["frechet"]["conditions"]["images"] == "8x8, colour"


def test_halves_stand_beside_the_samples_when_training_images_are_too_few(photographs: Path) -> None:
    for path in sorted((photographs / "train").iterdir())[3:]:
        path.unlink()

    real = scored(photographs / "test", photographs)["real_against_real"]

    assert (real["images"], real["what"]) == (COUNT // 2, f"one half of {photographs} test against the other")
