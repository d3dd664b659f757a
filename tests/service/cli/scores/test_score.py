"""`mintage score`: samples of a run, a job or a folder, and one line for what is wrong."""

from __future__ import annotations

import dataclasses
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from typer.testing import Result

from service.cli import app
from service.cli.scores import samples as loading
from service.jobs.shards.formats.tar import TarWriter
from tests.support.command_line import CliRunner
from tests.support.plans import sample_plan
from tests.support.runs import tiny_config, tiny_run
from training.config import Loading
from training.data import Options, load

COUNT = 80
SHAPE = (28, 28, 1)


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINTAGE_CACHE_DIR", "off")
    monkeypatch.setenv("COLUMNS", "80")


@pytest.fixture(scope="module")
def digits() -> NDArray[np.uint8]:
    return load("digits", "train").images[:COUNT]


def write(images: NDArray[np.uint8], folder: Path) -> Path:
    folder.mkdir(parents=True)
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(folder / f"{number:09d}.png")
    return folder


@pytest.fixture(scope="module")
def folder(digits: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first training digits as PNG files."""
    return write(digits, tmp_path_factory.mktemp("images") / "samples")


@pytest.fixture(scope="module")
def reference(digits: NDArray[np.uint8], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: the same training digits, and as many others to test with."""
    folder = tmp_path_factory.mktemp("data")
    write(digits, folder / "train")
    write(load("digits", "test").images[:COUNT], folder / "test")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of random weights that generates images of the digits' size."""
    config = dataclasses.replace(tiny_config(), height=28, width=28, channels=1)
    return tiny_run(tmp_path_factory.mktemp("runs") / "tiny", config=config)


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["score", *map(str, arguments)])


def scored(*arguments: object) -> dict[str, Any]:
    result = invoke(*arguments, "--json")
    assert result.exit_code == 0, result.stderr
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def test_training_images_as_samples_score_as_training_images(folder: Path) -> None:
    values = scored(folder)

    assert values["samples"] == {"source": str(folder), "images": COUNT, "seed": None, "passed_over": []}
    assert values["reference"] == {"name": "digits test", "images": 2000}
    assert values["scores"]["comparison"] == values["real_against_real"]["comparison"]
    assert values["scores"]["comparison"]["shares"]["precision"] > 0.8
    assert values["scores"]["comparison"]["frechet"]["conditions"] == {
        "extractor": values["extractor"]["sha256"],
        "reference": "digits test",
        "images": "28x28, grey",
        "resize": "none",
    }


def test_the_output_of_a_sample_job_scores_as_its_images_do(
    digits: NDArray[np.uint8], folder: Path, reference: Path, tmp_path: Path
) -> None:
    plan = sample_plan(height=28, width=28, count=COUNT, shard_size=50)
    (tmp_path / "shards").mkdir()
    (tmp_path / "plan.json").write_bytes(plan.to_json())
    for shard in range(plan.shards):
        span = plan.span(shard)
        with (tmp_path / "shards" / f"{shard:06d}.tar").open("wb") as file:
            writer = TarWriter(file, plan)
            writer.add(span.start, digits[span.start : span.stop])
            writer.finish()

    values = scored(tmp_path, reference)

    assert values["samples"]["images"] == COUNT
    assert values["scores"] == scored(folder, reference)["scores"]


def test_a_run_generates_samples_by_seed(run: Path, reference: Path) -> None:
    values, other = (scored(run, reference, "-n", COUNT, "--seed", seed) for seed in (3, 4))

    assert values["samples"] == {"source": str(run), "images": COUNT, "seed": 3, "passed_over": []}
    assert values["scores"] != other["scores"]
    assert values["real_against_real"]["comparison"]["frechet"] == other["real_against_real"]["comparison"]["frechet"]


def test_the_samples_of_a_run_are_those_of_its_archive(run: Path, tmp_path: Path) -> None:
    from handlers.archive import pack
    from handlers.compute.model import load as load_model
    from handlers.operations.direct import generate
    from handlers.protocol.requests import Generate

    archive = pack(run, "generator", tmp_path / "tiny.mar", micro_batch=loading.MICRO_BATCH)
    zipfile.ZipFile(archive.path).extractall(tmp_path / "content")
    told: list[int] = []

    samples = loading.generate(run, count=70, seed=5, report=told.append)

    model = load_model(tmp_path / "content", "generator", torch.device("cpu"))
    [served] = generate(model, [Generate(seed=5, first_index=0, count=70)])
    assert isinstance(served, np.ndarray)
    assert samples.images.tobytes() == served.tobytes()
    assert told == [64, 6]


def test_people_get_a_table_with_everything_that_the_values_depend_on(folder: Path, reference: Path) -> None:
    result = invoke(folder, reference, "--count", 70)

    assert result.exit_code == 0, result.stderr
    for name in ("classifier score", "Frechet distance", "kernel distance", "precision", "recall", "coverage"):
        assert name in result.stdout
    words = " ".join(result.stdout.split())
    assert "70 samples 70 real better" in words
    assert f"reference {reference} test, 80 images; extractor " in words
    assert "k = 5; 100 subsets of 70; both sides 28x28, grey, for the extractor as they are" in words
    assert f"70 real: training images against {reference} test, 80 images; perfect samples would score so" in words
    assert "Parzen" not in words
    assert result.stderr.splitlines() == [
        f"{folder}: 70 images, 28x28 grey, no labels; passed over images beyond the limit, which takes some at even "
        "distances, for want of labels: 10",
        f"{reference}: 80 images, 80 to test with, 28x28 grey, no labels",
    ]


def test_a_run_is_compared_with_the_data_that_it_was_trained_on(reference: Path, tmp_path: Path) -> None:
    config = dataclasses.replace(tiny_config(), height=28, width=28, channels=1, data_name=str(reference))

    values = scored(tiny_run(tmp_path / "run", config=config), "-n", COUNT)

    assert values["reference"] == {"name": f"{reference} test", "images": COUNT}


def test_a_run_of_several_sources_asks_for_one_to_compare_with(tmp_path: Path) -> None:
    config = dataclasses.replace(tiny_config(), height=28, width=28, channels=1, data_name="here/ + there/")

    result = invoke(tiny_run(tmp_path / "run", config=config), "-n", COUNT)

    assert result.exit_code == 2
    assert "was trained on here/ + there/; say which REFERENCE to compare with" in result.stderr


def test_both_sides_go_through_the_jpeg_that_is_asked_for(folder: Path, reference: Path) -> None:
    as_they_are, compressed = scored(folder, reference), scored(folder, reference, "--jpeg", 20)
    itself = scored(folder, folder, "--jpeg", 20)["scores"]["comparison"]

    assert as_they_are["scores"] != compressed["scores"]
    assert abs(itself["frechet"]["value"]) < 1e-6
    assert (itself["shares"]["precision"], itself["shares"]["recall"]) == (1.0, 1.0)
    assert itself["frechet"]["conditions"]["images"] == "28x28, grey, JPEG quality 20"


def test_the_jpeg_of_a_runs_training_images_is_that_of_its_scores(reference: Path, tmp_path: Path) -> None:
    plain = dataclasses.replace(tiny_config(), height=28, width=28, channels=1, data_name=str(reference))
    loading_of = Loading(sources=(str(reference),), options=Options(jpeg_quality=20))
    run = tiny_run(tmp_path / "run", config=dataclasses.replace(plain, loading=loading_of))

    by_itself = scored(run, "-n", COUNT)
    asked_for = scored(tiny_run(tmp_path / "plain", config=plain), "-n", COUNT, "--jpeg", 20)

    assert by_itself["scores"]["comparison"]["frechet"]["conditions"]["images"] == "28x28, grey, JPEG quality 20"
    assert by_itself["scores"]["comparison"] == asked_for["scores"]["comparison"]


def test_samples_of_another_size_are_resized_where_that_is_asked_for(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        Image.open(path).resize((40, 40)).save(tmp_path / path.name)

    refused, asked = invoke(tmp_path), scored(tmp_path, "--size", 28)

    assert refused.exit_code == 2
    assert "--size 28x28 --channels 1 resizes both sides" in refused.stderr
    assert asked["samples"]["images"] == COUNT


def test_the_real_images_can_be_limited_and_made_grey(folder: Path, reference: Path) -> None:
    values = scored(folder, reference, "--limit", 70, "--channels", 1, "--size", 28)

    assert values["reference"]["images"] == 70
    assert values["real_against_real"]["images"] == 70


def test_halves_of_the_reference_stand_beside_it_when_there_are_no_other_real_images(tmp_path: Path) -> None:
    images = load("digits", "train").images[: 2 * COUNT]
    folder = write(images, tmp_path / "digits")

    values, few = scored(folder, folder, "--split", "train"), scored(folder, folder, "--limit", COUNT)

    real = values["real_against_real"]
    assert values["reference"] == {"name": f"{folder} train", "images": 2 * COUNT}
    assert (real["images"], real["reference_images"]) == (COUNT, COUNT)
    assert real["what"] == f"one half of {folder} train against the other"
    assert real["comparison"]["frechet"]["value"] > 0
    assert real["comparison"]["shares"]["precision"] > 0.5
    assert few["reference"]["images"] == COUNT
    assert few["real_against_real"] is None  # half of them are too few for 64 features
    shown = invoke(folder, folder, "--limit", COUNT).stdout
    assert f"nothing says what perfect samples score: for halves of the {COUNT} real images 130 are needed" in shown


def test_parzen_and_the_nearest_images_are_added_where_they_are_asked_for(
    run: Path, reference: Path, tmp_path: Path
) -> None:
    sheet = tmp_path / "new" / "sheet.png"

    values = scored(run, reference, "-n", COUNT, "--parzen", "--nearest", sheet)

    parzen, ceiling = values["scores"]["parzen"], values["real_against_real"]["parzen"]
    assert (parzen["samples"], parzen["validation_images"], parzen["test_images"]) == (COUNT, 14, COUNT)
    assert ceiling["samples"] == COUNT - 14  # without those that sigma is chosen on
    assert ceiling["mean"] > parzen["mean"]
    assert values["kmeans"]["samples"] == (COUNT - 14) // 5
    assert values["kmeans"]["mean"] > parzen["mean"]
    near = values["nearest"]
    assert near["sheet"] == str(sheet) and near["samples"]["images"] == COUNT
    assert 0 < near["samples"]["low"] <= near["samples"]["median"] and 0 < near["test"]["median"] < 256
    with Image.open(sheet) as picture:
        assert picture.size == (2 * (6 * 30 + 2), 2 * (4 * 30 + 2))


def test_people_are_told_what_parzen_scores_are_worth(folder: Path, reference: Path) -> None:
    result = invoke(folder, reference, "--parzen")

    *_, samples, training, centres, warning = result.stdout.splitlines()
    assert samples.startswith("samples: Parzen log-likelihood ")
    assert training.startswith("training images: Parzen log-likelihood ")
    assert centres.startswith("centres of k-means on training images: Parzen log-likelihood ")
    assert "(13 samples, " in centres
    assert warning.startswith("Parzen estimates rank models unreliably")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{tmp}/nowhere"], "nowhere"),
        (["{tmp}"], "holds no image"),
        (["{folder}", "{tmp}/nowhere"], "nowhere"),
        (["{folder}", "{folder}", "--split", "test"], "has no test split; give --split train"),
        (["{folder}", "{folder}", "--split", "train", "--parzen"], "has no test split; --parzen needs one"),
        (["{folder}", "--extractor", "{tmp}"], "holds no feature extractor"),
        (["{folder}", "--nearest", "{tmp}/sheet.jpg"], "must end in .png"),
        (["{folder}", "-n", "81"], "holds 80 images, fewer than --count 81"),
        (["{folder}", "-n", "64"], "64 images are too few for 64 features"),
        (["{run}", "-n", "64"], "64 images are too few for 64 features"),
        (["{folder}", "--limit", "64"], "digits test: 64 images are too few for 64 features"),
        (["{folder}", "--size", "x"], "expected one number of pixels"),
        (["{folder}", "--size", "32"], "the extractor sees [28, 28, 1]: --size 28x28 --channels 1"),
        (["{folder}", "--inception", "{tmp}/none.pth"], "none.pth cannot be read"),
        (["{folder}", "--inception-sha256", "00"], "give --inception FILE"),
        (["{folder}", "--inception", "x.pth", "--extractor", "{tmp}"], "give --inception FILE"),
    ],
)
def test_bad_input_is_one_line_on_stderr_and_status_two(
    folder: Path, run: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    result = invoke(*(argument.format(folder=folder, run=run, tmp=tmp_path) for argument in arguments))

    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert [line for line in result.stderr.splitlines() if line.startswith("mintage: ")] == [
        result.stderr.splitlines()[-1]
    ]


def test_a_run_of_other_images_is_refused_before_it_generates(tmp_path: Path) -> None:
    result = invoke(tiny_run(tmp_path / "run", config=dataclasses.replace(tiny_config(), channels=1)))

    assert result.exit_code == 2
    assert "generates images of [6, 5, 1] (H, W, C), but the extractor sees [28, 28, 1]: --size" in result.stderr


def test_a_damaged_image_is_named(folder: Path, tmp_path: Path) -> None:
    for number in range(70):
        (tmp_path / f"{number:03d}.png").write_bytes((folder / f"{number:09d}.png").read_bytes())
    (tmp_path / "042.png").write_bytes(b"no image")

    result = invoke(tmp_path)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "042.png" in result.stderr
