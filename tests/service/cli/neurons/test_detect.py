"""`mintage neurons detect` against the real API over fakes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from PIL import Image

from service.cli import app
from tests.client.fakes import world_in_a_thread
from tests.support.command_line import CliRunner
from tests.support.formula import put
from tests.support.world import World


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A world with the autoencoder that the verb asks by default."""
    folder = tmp_path_factory.mktemp("state")
    put(folder / "archives", "face-neuron", "neurons")
    with structlog.testing.capture_logs(), world_in_a_thread(folder) as at:
        yield at


@pytest.fixture
def photographs(tmp_path: Path) -> list[Path]:
    """A light and a dark photograph, larger than the model's images and not of their aspect."""
    paths = [tmp_path / "light.jpg", tmp_path / "dark.png"]
    for path, level in zip(paths, (240, 5), strict=True):
        Image.new("RGB", (80, 50), (level, level, level)).save(path)
    return paths


def detect(at: World, *arguments: object, status: int = 0) -> Any:
    command = ["neurons", "detect", *map(str, arguments), "--api", at.address]
    result = CliRunner().invoke(app, command, env={"COLUMNS": "160"})
    assert result.exit_code == status, result.output
    assert "Traceback" not in result.output
    return result


def test_photographs_are_resized_and_every_concept_is_told(at: World, photographs: list[Path]) -> None:
    found = [json.loads(line) for line in detect(at, *photographs, "--json").stdout.splitlines()]
    assert [one["image"] for one in found] == [str(path) for path in photographs]
    assert [[each["concept"] for each in one["concepts"]] for one in found] == [["dark", "light"]] * 2
    assert [one["concepts"][1]["detected"] for one in found] == [True, False]
    table = detect(at, *photographs, "--concept", "light").stdout
    assert "94.1%" in table
    assert "yes" in table


def test_without_resizing_images_must_have_the_models_size(at: World, photographs: list[Path]) -> None:
    result = detect(at, *photographs, "--no-resize", status=2)
    light, dark = photographs
    assert f"mintage: {light} is 80 x 50 pixels, not 6 x 8" in result.stderr
    assert f"; {dark} is 80 x 50 pixels" in result.stderr and "encoded" not in result.stderr


def test_what_is_wrong_is_one_line(at: World, photographs: list[Path], tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("text")
    assert "it has dark, light" in detect(at, photographs[0], "--concept", "cat", status=2).stderr
    assert "is no image that can be read" in detect(at, tmp_path / "text.jpg", status=2).stderr
    assert "No such file" in detect(at, tmp_path / "none.jpg", status=2).stderr
    assert "no model models/nobody" in detect(at, photographs[0], "--model", "nobody", status=2).stderr
