"""Images and labels that a recipe cannot train on are refused before anything is written."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.fakes import blobs, small_dcgan_recipe, small_recipe
from training.data import LabelledImages
from training.errors import DataError
from training.loop.loop import train
from training.recipes import Recipe


def test_test_images_must_fit_the_training_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"test images are \[8, 8, 1\] \(H, W, C\), but training images \[6, 6, 1\]"):
        train(small_recipe(), blobs(), tmp_path / "run", test=blobs(side=8))

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("labels", [7, 2])
def test_labels_must_be_shared_evenly_by_the_classes(tmp_path: Path, labels: int) -> None:
    with pytest.raises(DataError, match=f"labels={labels} cannot be shared by 3 classes"):
        train(small_recipe(labels=labels), blobs(), tmp_path / "run")

    assert not (tmp_path / "run").exists()


PIXELS = blobs(side=32).images


@pytest.mark.parametrize(
    ("recipe", "pixels", "message"),
    [
        (small_dcgan_recipe(), PIXELS[:, :27, :27], "no form for images of 27 x 27 with 1 channels: it needs 28 x 28"),
        (small_dcgan_recipe(), PIXELS[:, :16], "no form for images of 32 x 16"),
        (small_dcgan_recipe(), PIXELS.repeat(2, axis=3), "with 2 channels"),
        (
            dataclasses.replace(small_recipe(), network="conv"),
            PIXELS[:, :28, :28],
            "convolutional K.1 networks are for",
        ),
        (
            small_recipe(),
            PIXELS[:0],
            r"training images are uint8 \[0, 32, 32, 1\], expected uint8 \[N, H, W, C\] with N",
        ),
        (small_recipe(), PIXELS[..., 0], r"training images are uint8 \[60, 32, 32\], expected"),
        (small_recipe(), PIXELS * np.float32(np.nan), r"training images are float32 \[60, 32, 32, 1\], expected uint8"),
    ],
)
def test_images_that_do_not_fit_are_refused_before_anything_is_written(
    tmp_path: Path, recipe: Recipe, pixels: NDArray[np.uint8], message: str
) -> None:
    labels = np.arange(len(pixels)) % 3

    with pytest.raises(DataError, match=message):
        train(recipe, LabelledImages(pixels, labels, ("a", "b", "c")), tmp_path / "run")

    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("wrong", "classes", "message"),
    [
        (3, ("a", "b", "c"), r"a training image has the label 3, expected 0\.\.2: there are 3 classes"),
        (-1, ("a", "b", "c"), r"a training image has the label -1, expected 0\.\.2"),
        (0, (), r"a training image has the label 0, expected -1\.\.-1: there are 0 classes"),
    ],
)
def test_labels_out_of_range_are_refused(tmp_path: Path, wrong: int, classes: tuple[str, ...], message: str) -> None:
    labels = np.arange(60) % 3 if classes else np.full(60, -1)
    labels[7] = wrong

    with pytest.raises(DataError, match=message):
        train(small_dcgan_recipe(conditional="yes"), LabelledImages(PIXELS, labels, classes), tmp_path / "run")

    assert not (tmp_path / "run").exists()


def test_a_label_an_image(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"training labels are \[59\] for 60 images"):
        train(small_recipe(), LabelledImages(PIXELS, np.zeros(59, np.int64), ("a",)), tmp_path / "run")
