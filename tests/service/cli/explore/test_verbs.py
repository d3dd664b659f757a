"""`mintage explore` and `mintage sample --latent` against the real API over fakes: what is drawn, and what is said."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from PIL import Image

from service.cli import app
from service.images import png
from service.images.sheets import COMMAND_KEY, DESCRIPTION_TAG
from tests.client.fakes import world_in_a_thread
from tests.support.command_line import CliRunner
from tests.support.formula import pixels
from tests.support.world import World

ARITHMETIC = "mean(#1,#2,#3) - 0.5 * mean(#4,#5,#6) + mean(#7,#8,#9)"


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One world for all the verbs."""
    with structlog.testing.capture_logs(), world_in_a_thread(tmp_path_factory.mktemp("state")) as at:
        yield at


@pytest.fixture
def mintage(at: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Run the command against the world, in an empty folder."""
    monkeypatch.setenv("MINTAGE_API_ADDRESS", at.address)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
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
        if COMMAND_KEY in picture.info:
            return str(picture.info[COMMAND_KEY])
        return str(picture.getexif()[DESCRIPTION_TAG])


def test_a_formula_becomes_a_grid_or_a_folder_of_the_same_files_as_samples(mintage: Any, tmp_path: Path) -> None:
    mintage("sample", "digits", "--latent", "#0:3:4", "--seed", 7, "-o", "grid.png", "--scale", 1)
    mintage("sample", "digits", "-n", 4, "--seed", 7, "-o", "same.png", "--scale", 1)
    with Image.open("grid.png") as grid, Image.open("same.png") as same:
        assert np.array_equal(np.asarray(grid), np.asarray(same))
    said = mintage("sample", "digits", "--latent", "#5", "--latent", "mean(#1, #2)", "-o", "folder/", "--json").stdout
    assert json.loads(said)["latents"] == ["0#5", "mean(0#1, 0#2)"]
    assert (tmp_path / "folder/000000000.png").read_bytes() == next(png.encode(pixels(0, 5)[None]))
    lines = (tmp_path / "folder/latents.jsonl").read_text().splitlines()
    assert [json.loads(line)["latent"] for line in lines] == ["0#5", "mean(0#1, 0#2)"]


@pytest.mark.parametrize("name", ["walk.webp", "walk.apng"])
def test_a_range_moves(mintage: Any, name: str) -> None:
    mintage("sample", "digits", "--latent", "#0:4:5", "-o", name, "--fps", 10)
    with Image.open(name) as moving:
        assert getattr(moving, "n_frames", 1) == 5
        for frame in range(5):
            moving.seek(frame)
            shown = np.asarray(moving.convert("L"))
            scale = len(shown) // 8
            assert np.array_equal(shown[::scale, ::scale], pixels(0, frame)[:, :, 0])
        assert moving.info["duration"] == 100
    assert command_in(name) == f"mintage sample digits --latent '#0:4:5' --output {name} --fps 10.0"


def test_a_walk_is_a_strip_with_distances_and_the_command_that_makes_it_again(mintage: Any, at: World) -> None:
    said = json.loads(
        mintage("explore", "walk", "digits", "#1", "#2", "#3", "--frames", 2, "--closed", "--json").stdout
    )
    assert said["frames"] == [
        "0#1",
        "slerp(0#1, 0#2, 0.5)",
        "0#2",
        "slerp(0#2, 0#3, 0.5)",
        "0#3",
        "slerp(0#3, 0#1, 0.5)",
    ]
    assert len(said["distances"]) == 6 and said["distances"][0] == 0 and min(said["distances"][1:]) > 0
    assert said["command"] == command_in("walk.png") == "mintage explore walk digits '#1' '#2' '#3' --frames 2 --closed"
    first = Path("walk.png").read_bytes()
    mintage(*shlex.split(said["command"])[1:])
    assert Path("walk.png").read_bytes() == first
    text = mintage("explore", "walk", "digits", "#1:3:3", "--linear", "-o", "walk.webp").stdout
    assert (
        "33 frames in walk.webp" in text and "mintage explore walk digits '#1:3:3' --linear --output walk.webp" in text
    )
    assert {part[0] for each in at.models.operations("draw")[-1:] for part in each["parts"]} == {"sample", "lerp"}


def test_the_nearest_training_images_stand_under_the_frames(mintage: Any) -> None:
    Path("data").mkdir()
    for index in range(6):
        Image.fromarray(pixels(0, index)[:, :, 0]).save(f"data/{index}.png")
    command = ("explore", "walk", "digits", "#4", "#1", "--frames", 3, "--nearest", "data", "--json")
    near = json.loads(mintage(*command).stdout)["nearest"]
    assert (near["indices"][0], near["indices"][-1]) == (4, 1)
    assert (near["distances"][0], near["distances"][-1]) == (0, 0) and min(near["distances"][1:-1]) > 0


def test_arithmetic_draws_nine_images_with_the_result_in_the_middle(mintage: Any, at: World) -> None:
    said = json.loads(mintage("explore", "add", "digits", ARITHMETIC, "--noise-seed", 5, "--json").stdout)
    result = "mean(0#1, 0#2, 0#3) - 0.5 * mean(0#4, 0#5, 0#6) + mean(0#7, 0#8, 0#9)"
    assert said["formula"] == said["images"][4] == result
    assert [said["images"][place] for place in (0, 8)] == [
        f"jitter({result}, 5, 0.25)",
        f"jitter({result}, 12, 0.25)",
    ]
    assert len(set(said["images"])) == 9
    [drawn] = at.models.operations("draw")
    assert len(drawn["latents"]) == 3 * 4 + 9
    assert command_in("add.png") == f"mintage explore add digits {shlex.quote(ARITHMETIC)} --noise-seed 5"


def test_concepts_have_names(mintage: Any, tmp_path: Path) -> None:
    named = ("--concept", "smile=#1:#3", "--concept", "neutral=#4,#5,#6", "--concept", "man=#7,#8,#9")
    said = json.loads(mintage("explore", "add", "digits", "smile - 0.5 * neutral + man", *named, "--json").stdout)
    assert said["formula"] == "mean(0#1, 0#2, 0#3) - 0.5 * mean(0#4, 0#5, 0#6) + mean(0#7, 0#8, 0#9)"
    assert "--concept 'smile=#1:#3' --concept 'neutral=#4,#5,#6'" in said["command"]
    first = Path("add.png").read_bytes()
    mintage(*shlex.split(said["command"])[1:])
    assert Path("add.png").read_bytes() == first


def test_a_gallery_numbers_its_samples(mintage: Any, at: World) -> None:
    assert "25 samples in g.png" in mintage("explore", "gallery", "digits", "-n", 25, "--seed", 3, "-o", "g.png").stdout
    [drawn] = at.models.operations("draw")
    assert drawn["parts"] == [["sample", 3, index] for index in range(25)]
    assert command_in("g.png") == "mintage explore gallery digits --count 25 --seed 3 --output g.png"


def test_machines_are_told_of_a_gallery(mintage: Any) -> None:
    said = json.loads(mintage("explore", "gallery", "digits", "-n", 4, "--seed", 3, "--json").stdout)
    assert (said["file"], said["seed"], said["first_index"], said["images"]) == ("gallery.png", 3, 0, 4)
    assert said["command"] == command_in("gallery.png")


def test_few_exemplars_are_refused_unless_forced(mintage: Any) -> None:
    few = "mean(#1,#2,#3) - mean(#4,#5)"
    said = mintage("explore", "add", "digits", few, status=2).stderr
    assert said == (
        "mintage: a concept is the mean of at least 3 exemplars, but mean(0#4, 0#5) has 2; --force takes it too\n"
    )
    assert not Path("add.png").exists()
    mintage("explore", "add", "digits", few, "--force")
    assert Path("add.png").exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("sample", "digits", "--latent", "mean(#1"), "'mean(#1', column 8: expected ')', not the end"),
        (("sample", "digits", "--latent", "#1", "-n", 3), "--latent says itself what is drawn"),
        (("sample", "digits", "--class", 3), "--class belongs to --latent"),
        (("sample", "digits", "--latent", "#0:1024:1025"), "a grid holds at most 1,024 images"),
        (("sample", "digits", "--latent", "#1", "-o", "x.gif"), "x.gif: must end in .png, .webp or .apng"),
        (("sample", "digits", "--latent", "#1 + turn"), "the model has no direction 'turn'"),
        (("explore", "walk", "digits", "#1"), "a walk goes through at least two latents"),
        (("explore", "walk", "digits", "#1", "#2", "-o", "walk.jpg"), "must end in .png, .webp or .apng"),
        (("explore", "walk", "digits", "#1", "#2", "--nearest", "d", "-o", "w.webp"), "are shown on a strip"),
        (("explore", "walk", "digits", "#1", "#2", "--nearest", "nowhere"), "nowhere"),
        (("explore", "walk", "digits", "#1:3:3", "--frames", 600), "a strip holds at most 1,024 frames, not 1,201"),
        (("explore", "add", "digits", "#1:3:3"), "arithmetic has one result"),
        (("explore", "add", "digits", "mean(#1,#2,#3) + turn"), "turn names no exemplars"),
        (
            ("explore", "add", "digits", "mean(#1,#2,#3)", "--concept", "a=#1,#2,#3"),
            "--concept a: the formula does not name",
        ),
        (
            ("explore", "add", "digits", "a", "--concept", "mean=#1,#2,#3"),
            "mean=#1,#2,#3: expected NAME=LATENTS",
        ),
        (("explore", "add", "digits", "a", *(2 * ("--concept", "a=#1,#2,#3"))), "--concept a is given twice"),
        (("explore", "add", "digits", "a", "--concept", "a=#1,#2"), "exemplars, but a has 2"),
        (("explore", "add", "digits", "mean(#1,#2,#3)", "-o", "x.webp"), "x.webp: must end in .png"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(mintage: Any, arguments: tuple[object, ...], expected: str) -> None:
    said = mintage(*arguments, status=2).stderr
    assert expected in said and said.count("\n") == 1


@pytest.mark.parametrize("verb", ["walk", "add", "gallery"])
def test_every_verb_shows_an_example(mintage: Any, verb: str) -> None:
    assert f"  mintage explore {verb}" in mintage("explore", verb, "--help").stdout


def test_a_gallery_ends_at_the_last_sample_there_is(mintage: Any) -> None:
    last = 2**63 - 1
    assert mintage("explore", "gallery", "digits", "-n", 2, "--first-index", last - 1)
    assert (
        f"index {last}" in mintage("explore", "gallery", "digits", "-n", 3, "--first-index", last - 1, status=2).output
    )


def test_an_exemplar_counts_once_and_a_direction_is_none(mintage: Any) -> None:
    said = mintage("explore", "add", "digits", "mean(#1,#1,#1) - mean(#4,#5,#6)", status=2).output
    assert "mean(0#1, 0#1, 0#1) has 1" in said
    said = mintage("explore", "add", "digits", "mean(#1,#2,#3,turn)", status=2).output
    assert "turn names no exemplars" in said


def test_a_formula_that_begins_with_a_minus_can_be_typed_again(mintage: Any) -> None:
    said = mintage("explore", "walk", "digits", "-o", "a.png", "--json", "--", "-#1", "#2").stdout
    command = json.loads(said)["command"]
    assert command == "mintage explore walk --output a.png -- digits '-#1' '#2'"
    mintage(*shlex.split(command)[1:])
