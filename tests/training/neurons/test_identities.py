from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from training.data import LabelledImages
from training.neurons.identities import identities

pa: Any = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
pq: Any = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")


def images(count: int, *, damaged: tuple[str, ...] = ()) -> LabelledImages:
    return LabelledImages(np.zeros((count, 2, 2, 3), np.uint8), np.full(count, -1), (), damaged=damaged)


def write(folder: Path, *, column: str = "name") -> None:
    for number, names in enumerate((["ann", "bob"], ["ann", "eve"])):
        table = pa.table({"image": [b"png"] * 2, column: names})
        pq.write_table(table, folder / f"test-{number}.parquet")


def test_names_stand_in_the_order_of_the_images_of_all_files(tmp_path: Path) -> None:
    write(tmp_path)

    assert identities(str(tmp_path), "test", images(4)) == ("ann", "bob", "ann", "eve")
    assert identities(str(tmp_path), "test", images(3)) == ("ann", "bob", "ann")


def test_there_are_none_where_they_are_unknown(tmp_path: Path) -> None:
    write(tmp_path)

    assert identities(str(tmp_path), "test", images(3, damaged=("row 1",))) is None
    assert identities("digits", "test", images(3)) is None
    assert identities(str(tmp_path / "nowhere"), "test", images(3)) is None


def test_there_are_none_without_such_a_column(tmp_path: Path) -> None:
    write(tmp_path, column="title")

    assert identities(str(tmp_path), "test", images(4)) is None
