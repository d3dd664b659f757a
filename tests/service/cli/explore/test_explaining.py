"""Explaining, patches and forgetting from the command line: sheets with captions, and the command that makes them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from mintage.v1 import generation_pb2
from PIL import Image

from service.cli import app
from service.cli.explore.explain import _target
from service.cli.explore.images import framed, loaded, shown
from service.cli.explore.saliency import box_of
from service.images.sheets import COMMAND_KEY
from tests.client.fakes import world_in_a_thread
from tests.support.command_line import CliRunner
from tests.support.formula import put
from tests.support.model_server import FakeModelServer
from tests.support.world import World


def with_explained(models: FakeModelServer) -> None:
    """Put an autoencoder and a discriminator beside the others."""
    put(models.archives, "mind", "neurons")
    put(models.archives, "critic", "discriminator")


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for all the verbs."""
    folder = tmp_path_factory.mktemp("state")
    with structlog.testing.capture_logs(), world_in_a_thread(folder, prepare=with_explained) as at:
        yield at


@pytest.fixture
def mintage(at: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run the command against the world, in a folder with two images."""
    monkeypatch.setenv("MINTAGE_API_ADDRESS", at.address)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for name, level in (("dark", 10), ("light", 200)):
        Image.new("L", (12, 16), level).save(tmp_path / "photos" / f"{name}.png")
    at.models.requests.clear()

    def run(*arguments: object, status: int = 0) -> Any:
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        assert result.exit_code == status, result.output
        assert "Traceback" not in result.output
        return result

    return run


def command_in(path: str) -> str:
    with Image.open(path) as picture:
        picture.load()
        return str(picture.info[COMMAND_KEY])


def test_images_are_explained_beside_random_weights(mintage: Any, at: World) -> None:
    said = json.loads(mintage("explore", "explain", "critic", "photos/", "-o", "sheet.png", "--json").stdout)

    assert [(each["image"], each["activation"]) for each in said["images"]] == [
        ("photos/dark.png", 10.0),
        ("photos/light.png", 200.0),
    ]
    assert [sent["random"] for sent in at.models.operations("explain")] == [False, True]
    assert command_in("sheet.png") == said["command"] == "mintage explore explain critic photos --output sheet.png"


@pytest.mark.parametrize(
    ("options", "target"),
    [
        (("critic", "--unit", "2:3"), {"map": [2, 3]}),
        (("mind", "--unit", "1:3:-1"), {"unit": [1, 3, -1]}),
        (("mind", "--concept", "light"), {"unit": [2, 9, 1]}),
        (("judge", "--class", "two"), {"class": 2}),
    ],
)
def test_any_unit_can_be_named(mintage: Any, at: World, options: tuple[str, ...], target: dict[str, Any]) -> None:
    mintage("explore", "explain", options[0], "photos/dark.png", *options[1:])

    assert at.models.operations("explain")[0]["target"] == target


def test_units_that_cannot_be_are_refused(mintage: Any) -> None:
    for options, text in [
        (("critic", "--unit", "2"), "two whole numbers"),
        (("critic", "--unit", "a:b"), "two whole numbers"),
        (("mind", "--unit", "1:1", "--concept", "light"), "name one of"),
        (("critic", "-o", "sheet.jpg"), "must end in .png"),
        (("mind",), "mind is an autoencoder: --concept NAME or --unit STAGE:UNIT says what to explain"),
        (("mind", "--class", "one"), "mind is an autoencoder: --concept NAME or --unit STAGE:UNIT"),
        (("critic", "--concept", "light"), "critic has no concepts: --unit LAYER:MAP or --class NAME"),
    ]:
        assert text in mintage("explore", "explain", options[0], "photos/dark.png", *options[1:], status=2).output


def test_a_sheet_says_what_its_gradients_are_of() -> None:
    assert _target(None, None, None, is_classifier=False) == "the logit of 'real'"
    assert _target(None, None, None, is_classifier=True) == "the logit of each image's most probable class"
    assert _target(None, None, "two", is_classifier=True) == "the logit of class two"
    assert _target("3:17", None, None, is_classifier=False) == "unit 3:17"
    assert _target(None, "face", None, is_classifier=False) == "the neuron of face"


def test_images_that_are_not_there_are_said(mintage: Any) -> None:
    Path("none").mkdir()
    for verb in ("explain", "patches"):
        assert "none: no image files" in mintage("explore", verb, "critic", "none", status=2).output


def test_transparency_is_laid_on_white_and_16_bits_are_scaled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGBA", (8, 8), (10, 20, 30, 0)).save("clear.png")
    Image.fromarray(np.full((8, 8), 128 * 257, np.uint16)).save("deep.png")
    images = loaded([Path("clear.png"), Path("deep.png")], generation_pb2.ImageShape(height=4, width=4, channels=3))
    assert images.reshape(2, -1).tolist() == [[255] * 48, [128] * 48]


def test_patches_are_cut_out_of_the_images(mintage: Any) -> None:
    options = ("--layer", 2, "--map", 3, "-n", 1, "-o", "patches.png", "--json")
    said = json.loads(mintage("explore", "patches", "critic", "photos/", *options).stdout)

    assert [(each["layer"], each["map"]) for each in said["maps"]] == [(2, 3)]
    [patch] = said["maps"][0]["patches"]
    assert (patch["image"], patch["left"], patch["width"], patch["height"]) == ("photos/light.png", 3, 2, 8)
    assert command_in("patches.png").startswith("mintage explore patches critic photos --layer 2 --map 3")


def test_an_object_is_forgotten_by_boxes_drawn_by_hand(mintage: Any, at: World) -> None:
    boxes = [{"index": index, "left": 2, "top": 0, "width": 2, "height": 8} for index in range(10)]
    Path("boxes.json").write_text(json.dumps(boxes))

    options = ("#0:9:10", "--boxes", "boxes.json", "--show", 6, "-o", "forgotten.png")
    said = json.loads(mintage("explore", "forget", "digits", *options, "--json").stdout)

    assert said["layer"] == 2 and said["dropped"] == [1] and said["accuracy"] == 1.0
    assert at.models.operations("draw")[-1]["drop"] == [[2, [1]]]
    assert len(at.models.operations("draw")[-1]["latents"]) == 6
    told = mintage("explore", "forget", "digits", *options).stdout
    assert "1 of 3 maps of layer 2 dropped, found from boxes in 10 images; 100.0% of held-out places" in told
    assert command_in("forgotten.png") == said["command"]


@pytest.mark.parametrize(
    "options", [("mind", "--concept", "light"), ("judge", "--detector-class", "one"), ("critic",), ("judge",)]
)
def test_an_object_is_forgotten_by_what_a_detector_sees(mintage: Any, at: World, options: tuple[str, ...]) -> None:
    said = json.loads(mintage("explore", "forget", "digits", "#0:39:40", "--detector", *options, "--json").stdout)

    assert 0 < len(said["boxes"]) <= 40
    assert all(0 <= box["left"] < box["left"] + box["width"] <= 6 for box in said["boxes"])
    assert at.models.operations("tap")


def test_where_the_object_is_must_be_said_once(mintage: Any) -> None:
    Path("boxes.json").write_text('[{"index": 0}]')
    Path("empty.json").write_text("[]")
    Path("far.json").write_text('[{"index": 99999999999, "left": 0, "top": 0, "width": 1, "height": 1}]')
    for options, text in [
        ((), "by --boxes FILE or by --detector MODEL"),
        (("--boxes", "boxes.json", "--detector", "mind"), "by --boxes FILE or by --detector MODEL"),
        (("--boxes", "boxes.json", "--concept", "light"), "belong to --detector"),
        (("--boxes", "boxes.json"), "must be a list of boxes"),
        (("--boxes", "none.json"), "No such file"),
        (("--boxes", "empty.json"), "empty.json holds no box"),
        (("--boxes", "far.json"), "must be a list of boxes"),
    ]:
        assert text in mintage("explore", "forget", "digits", *options, status=2).output


def test_a_box_is_drawn_around_what_is_salient_with_the_strongest_pixel() -> None:
    gradient = np.zeros((32, 32, 3), np.float32)
    gradient[8:16, 4:12] = [1, -1, 1]
    gradient[28:, 28:] = 0.4

    box = box_of(3, gradient, (64, 64))

    assert box.index == 3
    assert abs(box.left - 8) <= 2 and abs(box.top - 16) <= 2
    assert abs(box.width - 16) <= 4 and abs(box.height - 16) <= 4


def test_a_gradient_is_grey_where_it_is_zero_and_light_where_it_is_positive() -> None:
    levels = shown(np.array([[[-2.0], [0.0], [2.0]]], np.float32))

    assert levels[0, :, 0].tolist() == [0, 128, 255]


def test_a_frame_lies_on_the_pixels_of_its_box() -> None:
    drawn = framed(np.zeros((4, 4, 1), np.uint8), [(1, 1, 2, 2)], 3)

    red = (drawn == [230, 60, 40]).all(axis=2)
    rows, columns = red.any(axis=1).nonzero()[0], red.any(axis=0).nonzero()[0]
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (3, 8, 3, 8)
    assert not red[4:8, 4:8].any()
