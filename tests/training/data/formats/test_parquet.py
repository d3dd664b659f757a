"""Parquet files in the column layout of Hugging Face."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.data.files import encoded, pixels
from training.data import has_split, load
from training.errors import DataError

pa: Any = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
pq: Any = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")

IMAGES = pixels(6)
FILES = [encoded(image) for image in IMAGES]
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def table(
    path: Path,
    rows: range = range(6),
    *,
    labels: Any = "their place",
    names: list[str] | None = None,
    images: Any = None,
    group: int = 4,
) -> Path:
    """A file with a row an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bare = [{"bytes": FILES[n], "path": f"{n}.png"} for n in rows]
    columns = {"image": pa.array(bare, IMAGE_TYPE) if images is None else images}
    if labels is not None:
        columns["label"] = pa.array(list(rows), pa.int64()) if isinstance(labels, str) else labels
    made = pa.table(columns)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(made, path, row_group_size=group)
    return path


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


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary()])
def test_images_may_be_bare_bytes(tmp_path: Path, kind: Any) -> None:
    path = table(tmp_path / "a.parquet", images=pa.array(FILES, kind), labels=None)

    assert np.array_equal(load(path, "train").images, IMAGES)


def test_faces_with_names_are_images_without_labels(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", labels=None)
    pq.write_table(pq.read_table(path).append_column("name", [[f"person {n}" for n in range(6)]]), path)

    data = load(path, "train", size=(3, 3), channels=3)

    assert (data.shape, data.classes, data.labels.tolist()) == ((3, 3, 3), (), [-1] * 6)


def test_images_may_have_a_column_of_another_name_if_it_is_the_only_one(tmp_path: Path) -> None:
    path = table(tmp_path / "a.parquet", labels=None)
    pq.write_table(pq.read_table(path).rename_columns(["picture"]), path)

    assert np.array_equal(load(path, "train").images, IMAGES)

    pq.write_table(pq.read_table(path).append_column("mask", pq.read_table(path)["picture"]), path)
    with pytest.raises(DataError, match=r"has the columns picture .*, mask .*; expected `image`"):
        load(path, "train")


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
        (pa.array(list("aabbcc")), r"has a column label of string; integers"),
    ],
)
def test_labels_that_make_no_sense_are_named(tmp_path: Path, labels: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(table(tmp_path / "a.parquet", labels=labels, names=["cat", "dog", "emu"]), "train")


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


def test_one_split_has_one_list_of_classes(tmp_path: Path) -> None:
    table(tmp_path / "train-0.parquet", names=["cat"])
    table(tmp_path / "train-1.parquet", names=["dog"])

    with pytest.raises(DataError, match=r"train-1\.parquet names other classes than .*train-0\.parquet"):
        load(tmp_path, "train")


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


@pytest.mark.parametrize("name", ["label", "labels", "fine_label", "target", "class"])
def test_labels_stand_in_a_column_of_a_usual_name(tmp_path: Path, name: str) -> None:
    path = table(tmp_path / "a.parquet", labels=None)
    pq.write_table(pq.read_table(path).append_column(name, [[0, 1, 2, 0, 1, 2]]), path)

    assert load(path, "train").labels.tolist() == [0, 1, 2, 0, 1, 2]


def with_declared(path: Path, *names: str) -> Path:
    """Add columns that Hugging Face's metadata declare to be labels."""
    made = pq.read_table(table(path, labels=None))
    features: dict[str, Any] = {}
    for name in names:
        made = made.append_column(name, [[0, 1, 0, 1, 0, 1]])
        features[name] = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(made.replace_schema_metadata(metadata), path)
    return path


def test_a_column_that_is_declared_to_be_labels_is_used_whatever_its_name(tmp_path: Path) -> None:
    data = load(with_declared(tmp_path / "a.parquet", "animal"), "train")

    assert data.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert data.classes == ("cat", "dog")


def test_several_columns_of_labels_without_a_usual_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 2 columns of labels, animal, breed; call the one that is meant label"):
        load(with_declared(tmp_path / "a.parquet", "breed", "animal"), "train")


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


def test_labels_with_gaps_make_no_classes_without_images(tmp_path: Path) -> None:
    data = load(table(tmp_path / "a.parquet", labels=pa.array([7, 2, 7, 2, 7, 2])), "train")

    assert data.classes == ("2", "7")
    assert data.labels.tolist() == [1, 0, 1, 0, 1, 0]


def test_without_the_library_the_error_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = table(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    with pytest.raises(DataError, match=r"needs pyarrow; get it with: pip install mintage\[parquet\]"):
        load(path, "train")
