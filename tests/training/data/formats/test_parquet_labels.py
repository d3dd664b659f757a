"""The labels and classes of Parquet files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.parquet_tables import IMAGES, table, with_declared
from training.data import load
from training.data.account import line
from training.errors import DataError

pa: Any = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
pq: Any = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")


def test_rows_are_read_in_order_with_their_labels(tmp_path: Path) -> None:
    data = load(table(tmp_path / "a.parquet"), "train")

    assert np.array_equal(data.images, IMAGES)
    assert data.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert data.classes == tuple("012345")


def test_names_of_classes_come_from_the_metadata(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", range(2), names=["cat", "dog", "emu"])

    assert load(path, "train").classes == ("cat", "dog", "emu")


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"info": 3}', b'{"info": {"features": {"label": {"names": 3}}}}'])
def test_metadata_that_makes_no_sense_gives_numbers(tmp_path: Path, metadata: bytes) -> None:
    path = table(tmp_path / "a.parquet")
    pq.write_table(pq.read_table(path).replace_schema_metadata({"huggingface": metadata}), path)

    assert load(path, "train").classes == tuple("012345")


def test_faces_with_names_are_images_without_labels(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", labels=None)
    pq.write_table(pq.read_table(path).append_column("name", [[f"person {n}" for n in range(6)]]), path)

    data = load(path, "train", size=(3, 3), channels=3)

    assert (data.shape, data.classes, data.labels.tolist()) == ((3, 3, 3), (), [-1] * 6)


@pytest.mark.parametrize("labels", [None, pa.array([None] * 6, pa.int64()), pa.array([-1] * 6, pa.int64())])
def test_images_may_be_without_labels(tmp_path: Path, labels: Any) -> None:
    data = load(table(tmp_path / "a.parquet", labels=labels, names=["cat"]), "train")

    assert data.labels.tolist() == [-1] * 6
    assert data.classes == ()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (pa.array([0, 1, 2, 0, None, 0], pa.int64()), "1 of 6 images have no label"),
        (pa.array([0, 1, 2, 0, -1, 0], pa.int64()), "1 of 6 images have no label"),
        (pa.array([0, 1, 3, 0, 0, 0], pa.int64()), r"the label 3 lies outside 0\.\.2"),
        (pa.array([0, 1, 2, -5, 0, 0], pa.int64()), r"a\.parquet row 3 has the label -5"),
        (pa.array([0, 1, 2, 2**64 - 1, 0, 0], pa.uint64()), "row 3 has the label 18446744073709551615"),
        (pa.array([0.0, 1, 2, float("nan"), 0, 0]), r"has a column label of double; integers"),
        (pa.array(["a", None, *"bbcc"]), "1 of 6 images have no label"),
    ],
)
def test_labels_that_make_no_sense_are_named(tmp_path: Path, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(table(tmp_path / "a.parquet", labels=labels, names=["cat", "dog", "emu"]), "train")


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())])
def test_labels_that_are_text_name_classes(tmp_path: Path, kind: Any) -> None:
    for n, texts in enumerate((["emu", "cat", "emu"] * 2, ["dog", "cat", "ant"] * 2)):
        table(tmp_path / f"train-{n}.parquet", labels=pa.array(texts).cast(kind))

    data, few = load(tmp_path, "train"), load(tmp_path, "train", limit=4)

    assert (data.classes, data.text_labels) == (("ant", "cat", "dog", "emu"), True)
    assert data.labels.tolist() == [3, 1, 3] * 2 + [2, 1, 0] * 2
    assert [few.classes[label] for label in few.labels] == ["emu", "cat", "dog", "ant"]


def test_numbers_go_before_text_where_both_are_there(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", labels=pa.array(["cat"] * 6))
    pq.write_table(pq.read_table(path).append_column("target", [[0, 1, 2, 0, 1, 2]]), path)

    assert load(path, "train").labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_captions_are_no_labels(tmp_path: Path) -> None:
    path = table(
        tmp_path / "a.parquet", labels=pa.array([f"a caption of image {n}, {'very ' * 20}long" for n in range(6)])
    )

    data = load(path, "train")

    assert (data.classes, data.labels.tolist()) == ((), [-1] * 6)
    assert "text labels, taken for captions, since over 1,000 differ or one has over 100 characters: 6 (" in line(data)


def test_one_split_has_one_list_of_classes(tmp_path: Path) -> None:
    table(tmp_path / "train-0.parquet", names=["cat"])
    table(tmp_path / "train-1.parquet", names=["dog"])

    with pytest.raises(DataError, match=r"train-1\.parquet names other classes than .*train-0\.parquet"):
        load(tmp_path, "train")


@pytest.mark.parametrize("name", ["label", "labels", "fine_label", "target", "class"])
def test_labels_stand_in_a_column_of_a_usual_name(tmp_path: Path, name: str) -> None:
    path = table(tmp_path / "a.parquet", labels=None)
    pq.write_table(pq.read_table(path).append_column(name, [[0, 1, 2, 0, 1, 2]]), path)

    assert load(path, "train").labels.tolist() == [0, 1, 2, 0, 1, 2]


def test_a_column_that_is_declared_to_be_labels_is_used_whatever_its_name(tmp_path: Path) -> None:
    data = load(with_declared(tmp_path / "a.parquet", "animal"), "train")

    assert data.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert data.classes == ("cat", "dog")


def test_several_columns_of_labels_without_a_usual_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 2 columns of labels, animal, breed; call the one that is meant label"):
        load(with_declared(tmp_path / "a.parquet", "breed", "animal"), "train")


def test_labels_with_gaps_make_no_classes_without_images(tmp_path: Path) -> None:
    data = load(table(tmp_path / "a.parquet", labels=pa.array([7, 2, 7, 2, 7, 2])), "train")

    assert data.classes == ("2", "7")
    assert data.labels.tolist() == [1, 0, 1, 0, 1, 0]
