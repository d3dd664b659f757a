"""One function for every source: what is what, and the options that all share."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.files import encoded, pixels, tar
from training.data import choose_labelled, load
from training.errors import DataError


def test_a_file_of_no_known_format_is_named(tmp_path: Path) -> None:
    (tmp_path / "images.zip").write_bytes(b"PK")

    with pytest.raises(DataError, match=r"images\.zip is of no known format; expected a \.parquet, a WebDataset \.tar"):
        load(tmp_path / "images.zip", "train")


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "images.tar")

    with pytest.raises(DataError, match="is not a folder"):
        load(tmp_path / "images.tar", "train")


def test_a_split_has_one_of_two_names() -> None:
    with pytest.raises(DataError, match="there is no split 'valid'; choose train or test"):
        load("digits", "valid")  # type: ignore[arg-type]


def test_pixels_are_resized_and_converted_too() -> None:
    plain, made = load("digits", "test", limit=5), load("digits", "test", limit=5, size=(32, 16), channels=3)

    assert made.shape == (32, 16, 3)
    assert len(plain) == len(made) == 5
    assert np.array_equal(plain.labels, made.labels)
    assert np.array_equal(made.images[..., 0], made.images[..., 2])


def test_pixels_of_one_column_keep_their_shape(tmp_path: Path) -> None:
    line = np.arange(7, dtype=np.uint8).reshape(1, 7, 1)
    path = tar(tmp_path / "a.tar", {"1.png": encoded(line)})

    assert np.array_equal(load(path, "train").images[0], line)


def test_images_without_labels_cannot_be_chosen_by_label(tmp_path: Path) -> None:
    data = load(tar(tmp_path / "a.tar", {"1.png": encoded(pixels(1)[0])}), "train")

    with pytest.raises(DataError, match="labels=10, but the images have no labels"):
        choose_labelled(data.labels, count=10, classes=len(data.classes), seed=1)


def test_unreadable_folders_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)

    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        load(tmp_path, "train")
