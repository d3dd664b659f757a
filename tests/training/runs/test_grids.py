"""Grids of images."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from training.runs.grids import BACKGROUND, grid


def test_images_are_laid_out_row_by_row() -> None:
    images = np.stack([np.full((2, 3, 1), value, np.uint8) for value in (10, 20, 30)])

    sheet = np.asarray(grid(images, 2, gap=1))

    assert sheet.shape == (1 + 2 * 3, 1 + 2 * 4)
    assert (sheet[1, 1], sheet[1, 5], sheet[4, 1], sheet[4, 5]) == (10, 20, 30, BACKGROUND)


def test_colour_is_kept_and_pixels_become_squares() -> None:
    images = np.array([[[[255, 0, 7]]]], np.uint8)

    sheet = np.asarray(grid(images, 5, scale=3, gap=0))

    assert sheet.shape == (3, 3, 3)
    assert (sheet == [255, 0, 7]).all()


@pytest.mark.parametrize(
    "images", [np.zeros((0, 2, 2, 1), np.uint8), np.zeros((1, 2, 2, 4), np.uint8), np.zeros((1, 2, 2, 1), np.float32)]
)
def test_what_is_no_batch_of_images_is_refused(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected uint8"):
        grid(images, 4)


@pytest.mark.parametrize(
    "module", ["training.runs.grids", "training.runs.overview", "training.scores.classifier_score", "training.data"]
)
def test_modules_for_those_without_torch_do_not_import_it(module: str) -> None:
    code = f"import {module}, sys; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
