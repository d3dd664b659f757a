"""Real data sets, as Parquet files in `mnist`, `cifar10`, `lfw` and `fer2013` of the folder MINTAGE_TEST_DATA."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from training.data import Split, load

FOLDER = os.environ.get("MINTAGE_TEST_DATA")

pytestmark = pytest.mark.skipif(FOLDER is None, reason="MINTAGE_TEST_DATA names no folder with real data sets")


@pytest.mark.parametrize(
    ("name", "split", "shape", "classes"),
    [
        ("mnist", "train", (60_000, 28, 28, 1), 10),
        ("mnist", "test", (10_000, 28, 28, 1), 10),
        ("cifar10", "train", (50_000, 32, 32, 3), 10),
        ("cifar10", "test", (10_000, 32, 32, 3), 10),
        ("lfw", "train", (4547, 96, 96, 3), 0),
        ("lfw", "test", (1534, 96, 96, 3), 0),
        ("fer2013", "train", (30_000, 48, 48, 1), 7),
        ("fer2013", "test", (3000, 48, 48, 1), 7),
    ],
)
def test_every_image_is_loaded(name: str, split: Split, shape: tuple[int, ...], classes: int) -> None:
    pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    assert FOLDER is not None

    data = load(Path(FOLDER) / name, split)

    assert data.images.shape == shape
    assert len(data.classes) == classes
    assert data.damaged == ()


def test_mnist_begins_with_the_bundled_digits() -> None:
    pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    assert FOLDER is not None

    ours, theirs = load("digits", "train"), load(Path(FOLDER) / "mnist", "train", limit=10_000)

    assert np.array_equal(ours.images, theirs.images)
    assert np.array_equal(ours.labels, theirs.labels)
