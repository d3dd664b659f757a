"""Image files brought to the form of a model."""

from pathlib import Path

import numpy as np
import pytest
import typer
from mintage.v1.generation_pb2 import ImageShape
from PIL import Image

from service.cli.explore.images import files_of, loaded


def test_images_are_resized_to_a_models_shape(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 30, 3), 200, np.uint8)).save(tmp_path / "a.png")
    images = loaded([tmp_path / "a.png"], ImageShape(height=8, width=8, channels=1))
    assert images.shape == (1, 8, 8, 1)
    assert (images == 200).all()


def test_a_model_of_unknown_shape_is_said_to_be_loading(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        loaded([tmp_path / "a.png"], ImageShape())
    assert ended.value.exit_code == 1
    assert "still being loaded" in capsys.readouterr().err


def test_a_folders_images_are_found_by_their_content(tmp_path: Path) -> None:
    for name in ("b.dat", "a.png", ".hidden.png", "notes.txt"):
        Image.new("L", (4, 4)).save(tmp_path / name, "PNG")
    (tmp_path / "words.md").write_text("none")
    assert files_of([tmp_path], 9) == [tmp_path / "a.png", tmp_path / "b.dat"]
