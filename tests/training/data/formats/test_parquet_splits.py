"""The splits of Parquet files, and repositories of the Hub as downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.parquet_tables import FILES, IMAGES, table
from training.data import has_split, load
from training.errors import DataError


@pytest.mark.parametrize(
    "names",
    [
        ("train.parquet", "test.parquet"),
        ("data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
    ],
)
def test_splits_are_told_by_the_names_of_files(tmp_path: Path, names: tuple[str, str]) -> None:
    table(tmp_path / names[0], range(4))
    table(tmp_path / names[1], range(4, 6))

    assert has_split(tmp_path, "test")
    assert np.array_equal(load(tmp_path, "train").images, IMAGES[:4])
    assert np.array_equal(load(tmp_path, "test").images, IMAGES[4:])


def test_the_files_of_a_split_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    for n in (1, 0, 2):
        table(tmp_path / "data" / f"train-0000{n}-of-00003.parquet", range(2 * n, 2 * n + 2))

    assert np.array_equal(load(tmp_path, "train").images, IMAGES)
    assert np.array_equal(load(tmp_path, "train", limit=3).images, IMAGES[:3])
    assert not has_split(tmp_path, "test")


def test_files_without_a_split_in_their_names_are_training_images(tmp_path: Path) -> None:
    table(tmp_path / "0000.parquet")

    assert np.array_equal(load(tmp_path, "train").images, IMAGES)
    assert not has_split(tmp_path, "test")


def test_some_files_without_a_split_are_not_left_out_in_silence(tmp_path: Path) -> None:
    table(tmp_path / "train.parquet")
    table(tmp_path / "more.parquet")

    with pytest.raises(
        DataError, match=r"1 Parquet files, such as more\.parquet, belong to no split, but train\.parquet"
    ):
        load(tmp_path, "train")


@pytest.mark.parametrize(
    "name",
    [
        "plain_text/{}-00000-of-00001.parquet",
        "default/{}/0000.parquet",
        "{}/0000.parquet",
        "cifar10-{}.parquet",
        "mnist/{}.PARQUET",
    ],
)
def test_repositories_of_the_hub_are_read_as_downloaded(tmp_path: Path, name: str) -> None:
    table(tmp_path / name.format("train"), range(4))
    table(tmp_path / name.format("test"), range(4, 6))
    table(tmp_path / name.format("validation"), range(1))
    (tmp_path / "README.md").write_text("a card")

    train, test = load(tmp_path, "train"), load(tmp_path, "test")

    assert np.array_equal(train.images, IMAGES[:4])
    assert np.array_equal(test.images, IMAGES[4:])
    assert train.passed_over[0].reason.startswith("Parquet files of the split val")


def test_several_configurations_are_not_mixed(tmp_path: Path) -> None:
    for folder in ("cropped_digits", "full_numbers"):
        table(tmp_path / folder / "train.parquet")

    with pytest.raises(DataError, match=r"Parquet files in 2 folders \(.*cropped_digits, .*full_numbers\); name one"):
        load(tmp_path, "train")


def test_images_beside_tables_are_not_left_out_in_silence(tmp_path: Path) -> None:
    table(tmp_path / "train.parquet")
    (tmp_path / "1.png").write_bytes(FILES[0])

    with pytest.raises(DataError, match=r"1 Parquet files \(train\.parquet\) and 1 image files \(1\.png\); name with"):
        load(tmp_path, "train")
