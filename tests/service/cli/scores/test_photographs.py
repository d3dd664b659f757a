"""`mintage score` of photographs, as the documentation has it: without outside weights, by our own network."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.cli import app
from service.cli.scores.extractors import PHOTOGRAPHS
from tests.support.command_line import CliRunner
from tests.training.fakes import small_dcgan_recipe
from training.data import LabelledImages
from training.loop.loop import train

COUNT = 130  # the network has 108 features


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINTAGE_CACHE_DIR", "off")
    monkeypatch.setenv("COLUMNS", "80")


def pictures(count: int, *, seed: int, side: int = 32, tint: int = 0) -> NDArray[np.uint8]:
    """Smooth random colour images."""
    coarse = np.random.default_rng(seed).integers(0, 256 - tint, (count, 4, 4, 3), np.uint8)
    coarse[..., 0] += tint
    return np.stack(
        [np.asarray(Image.fromarray(each).resize((side, side), Image.Resampling.BICUBIC)) for each in coarse]
    )


def write(images: NDArray[np.uint8], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:04d}.png")
    return folder


def scored(*arguments: object) -> dict[str, Any]:
    result = CliRunner().invoke(app, ["score", *map(str, arguments), "--json"])
    assert result.exit_code == 0, result.stderr
    values: dict[str, Any] = json.loads(result.stdout)
    return values


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photographs alone: neither splits nor classes."""
    return write(pictures(2 * COUNT, seed=1, side=40), tmp_path_factory.mktemp("data") / "faces")


def test_the_documented_command_scores_a_dcgan_of_photographs(faces: Path, tmp_path: Path) -> None:
    pixels = pictures(60, seed=1)
    data = LabelledImages(pixels, np.full(60, -1), (), str(faces))
    train(small_dcgan_recipe(), data, tmp_path / "run")

    values = scored(tmp_path / "run", faces, "-n", COUNT)

    assert values["extractor"]["network"] == "Mintage's face-neuron (photographs 1)"
    assert values["names"]["frechet"] == "Frechet distance"
    assert values["reference"] == {"name": f"{faces} train", "images": 2 * COUNT}
    found, real = values["scores"]["comparison"], values["real_against_real"]
    assert found["classifier"] is None
    assert (real["images"], real["what"]) == (COUNT, f"one half of {faces} train against the other")
    assert found["frechet"]["value"] > 2 * real["comparison"]["frechet"]["value"]
    assert found["frechet"]["conditions"]["images"] == "32x32, colour"


def test_better_samples_have_better_scores(faces: Path, tmp_path: Path) -> None:
    fresh = write(pictures(COUNT, seed=2, side=40), tmp_path / "fresh")
    tinted = write(pictures(COUNT, seed=2, side=40, tint=60), tmp_path / "tinted")
    noise = np.random.default_rng(3).integers(0, 256, (COUNT, 40, 40, 3), np.uint8)

    distances = [
        scored(folder, faces)["scores"]["comparison"]["frechet"]["value"]
        for folder in (fresh, tinted, write(noise, tmp_path / "noise"))
    ]

    assert distances == sorted(distances)
    assert distances[1] > 1.5 * distances[0]
    assert scored(faces, faces)["scores"]["comparison"]["frechet"]["value"] < 1e-6


def test_people_read_whose_network_it_was_and_what_real_images_score(faces: Path) -> None:
    result = CliRunner().invoke(app, ["score", str(faces), str(faces)])

    assert result.exit_code == 0, result.stderr
    words = " ".join(result.stdout.split())
    assert f"{2 * COUNT} samples {COUNT} real better" in words
    assert "extractor Mintage's face-neuron (photographs 1), sha256" in words
    assert "both sides 40x40, colour, for the extractor resized 40x40 to 32x32, centre crop, Lanczos" in words
    assert "classifier score" not in words
    assert not any(name in words for name in ("FID", "KID", "Inception"))


def test_the_extractor_may_be_named(faces: Path) -> None:
    own, named = scored(faces, faces), scored(faces, faces, "--extractor", PHOTOGRAPHS)

    assert own["extractor"] == named["extractor"]
