"""The verbs about directions and inversion, on real networks: sheets, saved directions, and what machines are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
import torch
import typer
from mintage.client import Client
from mintage.latents import text_of
from PIL import Image
from typer.testing import Result

from handlers.compute.model import from_run
from service.cli import app
from service.cli.explore.turning import read_set, read_strengths
from service.images.sheets import COMMAND_KEY
from tests.client.fakes import in_a_thread
from tests.support.command_line import CliRunner
from tests.support.real_models import real_world
from tests.training.fakes import blobs, small_dcgan_recipe, small_recipe
from training.loop.loop import train

CPU = torch.device("cpu")
Verb = Callable[..., Result]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An API with a generator, its discriminator, and a classifier of another size."""
    folder = tmp_path_factory.mktemp("runs")
    train(small_dcgan_recipe(), blobs(side=32), folder / "dcgan")
    train(small_recipe(), blobs(side=8), folder / "ssgan")
    torch.set_num_threads(1)
    networks = {
        "faces": from_run(folder / "dcgan", "generator", CPU, micro_batch=4),
        "critic": from_run(folder / "dcgan", "discriminator", CPU, micro_batch=4),
        "judge": from_run(folder / "ssgan", "classifier", CPU, micro_batch=4),
    }
    with structlog.testing.capture_logs(), in_a_thread(lambda: real_world(folder / "state", networks)) as at:
        yield at.address


@pytest.fixture
def explore(address: str) -> Verb:
    def run(*words: str, status: int = 0) -> Result:
        result = CliRunner().invoke(app, ["explore", *words], env={"MINTAGE_API_ADDRESS": address, "COLUMNS": "200"})
        assert result.exit_code == status, result.output
        return result

    return run


def command_in(path: Path) -> str:
    with Image.open(path) as sheet:
        sheet.load()
        return str(sheet.info[COMMAND_KEY])


def test_turn_draws_a_sheet_saves_the_direction_and_says_how_to_make_it_again(
    explore: Verb, address: str, tmp_path: Path
) -> None:
    words = ["--from", "#1,#4", "--to", "#2:#3", "--apply", "#20:#21", "--strengths", "-2:2:5"]
    path = tmp_path / "turned.png"
    said = json.loads(explore("turn", "faces", *words, "--save", "turn", "-o", str(path), "--json").stdout)
    assert said["formula"] == "mean(0#2, 0#3) - mean(0#1, 0#4)"
    assert said["images"][0] == "0#20 - 2 * (mean(0#2, 0#3) - mean(0#1, 0#4))"
    assert len(said["images"]) == 10 and said["direction"]["name"] == "turn"
    assert command_in(path) == said["command"] and "--strengths" in said["command"]
    with Client(address) as client:
        assert (client.draw("faces", "#20 + 2 * turn") == client.draw("faces", said["images"][4])).all()
    again = explore("turn", "faces", *words, "--save", "turn", "-o", str(path))
    assert "sample faces --latent '#5 + turn * -2:2:9'" in again.stdout
    other = ["--from", "#1", "--to", "#2", "--save", "turn", "-o", str(path)]
    assert "has a direction turn already" in explore("turn", "faces", *other, status=1).stderr
    explore("turn", "faces", *other, "--replace")
    same = ["--from", "#1", "--to", "#1", "-o", str(path)]
    assert "there is no direction" in explore("turn", "faces", *same, status=1).stderr
    nothing = ["--from", "", "--to", "#1", "-o", str(path)]
    assert "expected latents between commas" in explore("turn", "faces", *nothing, status=2).stderr


def test_directions_are_listed_shown_exported_and_deleted(explore: Verb, address: str, tmp_path: Path) -> None:
    with Client(address) as client:
        client.save_direction("faces", "up", [0.5] * 5)
    assert "up" in explore("directions", "faces", "ls").stdout
    path = tmp_path / "up.png"
    assert f"mintage explore directions faces show up --output {path}" in explore(
        "directions", "faces", "show", "up", "-o", str(path)
    ).stdout.replace("\n", "")
    assert path.exists()
    exported = json.loads(explore("directions", "faces", "export", "up").stdout)
    assert exported["values"] == [0.5] * 5 and len(exported["model_digest"]) == 64
    explore("directions", "faces", "export", "up", "-o", str(tmp_path / "up.json"))
    assert json.loads((tmp_path / "up.json").read_text()) == exported
    assert "deleted" in explore("directions", "faces", "rm", "up").stdout
    assert "no direction up" in explore("directions", "faces", "show", "up", "-o", str(path), status=2).stderr
    assert '"name": "up"' not in explore("directions", "faces", "ls", "--json").stdout


def test_machines_are_told_of_saved_directions(explore: Verb, address: str, tmp_path: Path) -> None:
    with Client(address) as client:
        client.save_direction("faces", "down", [-0.5] * 5)
    sheet, file = tmp_path / "down.png", tmp_path / "down.json"
    shown = json.loads(explore("directions", "faces", "show", "down", "-o", str(sheet), "--json").stdout)
    assert (shown["file"], shown["direction"]["values"]) == (str(sheet), [-0.5] * 5)
    assert shown["command"] == command_in(sheet)
    assert json.loads(explore("directions", "faces", "export", "down", "--json").stdout) == shown["direction"]
    said = json.loads(explore("directions", "faces", "export", "down", "-o", str(file), "--json").stdout)
    assert said == {"model": "faces", "name": "down", "file": str(file)}
    assert json.loads(file.read_text()) == shown["direction"]
    deleted = json.loads(explore("directions", "faces", "rm", "down", "--json").stdout)
    assert deleted == {"model": "faces", "name": "down", "deleted": True}


def test_directions_are_found_and_saved(explore: Verb, tmp_path: Path) -> None:
    path = str(tmp_path / "found.png")
    said = explore("directions", "faces", "find", "--weights", "-n", "2", "--save", "w", "-o", path).stdout
    assert "w-1: number 1 of the first layer's weights, strength 1.00" in said
    towards = ["--classifier", "judge", "--class", "block-1", "--samples", "200"]
    found = json.loads(explore("directions", "faces", "find", *towards, "-o", path, "--json").stdout)
    assert 0.5 < found["directions"][0]["accuracy"] <= 1 and found["command"].startswith(
        "mintage explore directions faces find"
    )
    for words in ([], ["--weights", *towards], ["--class", "block-1"], ["--classifier", "judge"]):
        assert "say where directions come from" in explore("directions", "faces", "find", *words, status=2).stderr


def test_a_picture_is_inverted_and_walked_from(explore: Verb, address: str, tmp_path: Path) -> None:
    with Client(address) as client:
        [drawn] = client.draw_pil("faces", "11#4")
    drawn.convert("RGB").resize((64, 64), Image.Resampling.NEAREST).save(tmp_path / "photo.png")
    path = tmp_path / "inverted.png"
    words = [str(tmp_path / "photo.png"), "--starts", "2", "--steps", "160", "--save", "me", "-o", str(path)]
    said = json.loads(explore("invert", "faces", *words, "--json").stdout)
    assert said["pixel_error"] < 3 and len(said["values"]) == 5 and said["steps"] == 160
    with Client(address) as client:
        far = client.draw("faces", "me")[0].astype(float) - np.asarray(drawn)[:, :, None]
    assert np.sqrt((far**2).mean()) < 3
    assert command_in(path) == said["command"]


def test_sets_and_strengths_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert [text_of(each) for each in read_set("#1:#3, 7#5:7#6, 2 * #9, turn", seed=4)] == [
        *("4#1", "4#2", "4#3", "7#5", "7#6", "2 * 4#9", "turn")
    ]
    assert read_strengths("-2:2:5") == [-2.0, -1.0, 0.0, 1.0, 2.0]
    assert read_strengths("-1, 0.5") == [-1.0, 0.5]
    wrong: list[tuple[Any, str, str]] = [
        (read_strengths, "x", "expected A:B:N"),
        (read_strengths, "0:1:65", "from 1 to 64"),
        (read_strengths, "nan", "finite"),
        (lambda text: read_set(text, seed=0), "#1, ", "column"),
        (lambda text: read_set(text, seed=0), "#9:#3", "a first sample and a last one"),
        (lambda text: read_set(text, seed=0), "lerp(#1, #2, 0:1:3)", "without ranges"),
    ]
    for read, text, said in wrong:
        with pytest.raises(typer.Exit):
            read(text)
        assert said in capsys.readouterr().err
