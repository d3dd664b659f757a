"""Parquet files in the column layout of Hugging Face: their rows, their images, and what is damaged."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.parquet_tables import FILES, IMAGE_TYPE, IMAGES, table, with_declared
from training.data import load
from training.errors import DataError

pa: Any = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
pq: Any = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_images_may_be_bare_bytes(tmp_path: Path, kind: Any) -> None:
    path = table(tmp_path / "a.parquet", images=pa.array(FILES, kind), labels=None)

    assert np.array_equal(load(path, "train").images, IMAGES)


def test_images_may_have_a_column_of_another_name_if_it_is_the_only_one(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", labels=None)
    pq.write_table(pq.read_table(path).rename_columns(["picture"]), path)

    assert np.array_equal(load(path, "train").images, IMAGES)

    pq.write_table(pq.read_table(path).append_column("mask", pq.read_table(path)["picture"]), path)
    with pytest.raises(DataError, match=r"has the columns picture .*, mask .*; expected `image`"):
        load(path, "train")


@pytest.mark.parametrize(
    "images",
    [
        pa.array(["a.png"] * 6),
        pa.array([[1, 2]] * 6),
        pa.array([{"path": "a.png"}] * 6),
        pa.array([{"bytes": "text"}] * 6),
    ],
)
def test_a_column_without_bytes_is_refused(tmp_path: Path, images: Any) -> None:
    with pytest.raises(DataError, match=r"has the columns image \(.*expected `image`, with the bytes"):
        load(table(tmp_path / "a.parquet", images=images), "train")


def test_a_file_without_images_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")

    with pytest.raises(DataError, match=r"has the columns text \(string\); expected `image`"):
        load(tmp_path / "a.parquet", "train")


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image"):
        load(table(tmp_path / "a.parquet", range(0)), "train")


def test_rows_without_an_image_are_skipped_and_named(tmp_path: Path) -> None:
    rows: list[Any] = [{"bytes": FILES[0], "path": None}] * 30
    rows[7], rows[9] = None, {"bytes": None, "path": "elsewhere.png"}
    path = table(tmp_path / "a.parquet", images=pa.array(rows, IMAGE_TYPE), labels=pa.array([0] * 30))

    data = load(path, "train")

    assert len(data) == 28
    assert data.damaged == ("a.parquet row 7 is empty", "a.parquet row 9 is empty")


def test_a_file_that_was_cut_short_is_named(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet")
    path.write_bytes(path.read_bytes()[:-50])

    with pytest.raises(DataError, match=r"a\.parquet is not a Parquet file, or is damaged"):
        load(path, "train")


def test_a_file_that_is_something_else_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"no parquet" * 9)

    with pytest.raises(DataError, match=r"a\.parquet is not a Parquet file"):
        load(tmp_path / "a.parquet", "train")


def test_rows_that_are_damaged_are_an_error(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", group=2)
    content = bytearray(path.read_bytes())
    content[4:400] = b"\xff" * 396
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"a\.parquet "):
        load(path, "train")


def test_a_row_group_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.formats.parquet.MAX_GROUP_BYTES", 100)

    with pytest.raises(DataError, match=r"has a row group of [0-9]+ bytes; write at most 100"):
        load(table(tmp_path / "a.parquet"), "train")


def test_columns_that_are_not_read_are_said(tmp_path: Path) -> None:
    data = load(with_declared(tmp_path / "a.parquet", "fine_label", "coarse_label"), "train")

    assert [(each.reason, each.first) for each in data.passed_over] == [
        ("columns that are not read", ("coarse_label",))
    ]


@pytest.mark.parametrize(("limit", "rows"), [(1, [0]), (3, [0, 2, 4]), (4, [0, 1, 2, 4])])
def test_a_limit_takes_the_first_of_each_class_in_turn(tmp_path: Path, limit: int, rows: list[int]) -> None:
    data = load(table(tmp_path / "a.parquet", labels=pa.array([0, 0, 1, 1, 2, 2])), "train", limit=limit)

    assert np.array_equal(data.images, IMAGES[rows])
    assert (data.passed_over[-1].reason, data.passed_over[-1].count) == (
        "images beyond the limit, which takes the first of each class in turn",
        6 - limit,
    )


def test_without_the_library_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(DataError, match=r"needs pyarrow; get it with: \./mint extra parquet"):
        load(path, "train")
