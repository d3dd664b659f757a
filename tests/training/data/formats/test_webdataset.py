"""WebDataset tars, and the output of a sample job."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.files import encoded, pixels, tar
from training.data import has_split, load
from training.data.account import line
from training.errors import DataError

IMAGES = pixels(4)
PNG = encoded(IMAGES[0])


def shard(path: Path, first: int, count: int) -> Path:
    """A tar with labels that count on."""
    members = {}
    for index in range(first, first + count):
        members[f"{index:03d}.png"] = encoded(IMAGES[index])
        members[f"{index:03d}.cls"] = str(index).encode()
    return tar(path, members)


def test_the_tars_of_a_folder_are_read_in_the_order_of_their_names(tmp_path: Path) -> None:
    shard(tmp_path / "b.tar", 2, 2)
    shard(tmp_path / "a.tar", 0, 2)

    data = load(tmp_path, "train")

    assert np.array_equal(data.images, IMAGES)
    assert data.labels.tolist() == [0, 1, 2, 3]
    assert data.classes == ("0", "1", "2", "3")
    with pytest.raises(DataError, match=r"has no test\*\.tar and no folder `test`"):
        load(tmp_path, "test")


@pytest.mark.parametrize(("train", "test"), [("train-0.tar", "test-0.tar"), ("train/0.tar", "test/0.tar")])
def test_splits_are_told_by_names_or_folders(tmp_path: Path, train: str, test: str) -> None:
    shard(tmp_path / train, 0, 3)
    shard(tmp_path / test, 3, 1)

    assert has_split(tmp_path, "train")
    assert has_split(tmp_path, "test")
    assert (len(load(tmp_path, "train")), len(load(tmp_path, "test"))) == (3, 1)


def test_one_tar_holds_training_images(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", 0, 4)

    assert len(load(path, "train", limit=3)) == 3
    assert not has_split(path, "test")


@pytest.mark.parametrize("label", [{"label": 1}, {"cls": 1}, {"label": 1, "cls": 9, "text": "a coin"}])
def test_labels_may_stand_in_json(tmp_path: Path, label: dict[str, object]) -> None:
    path = tar(tmp_path / "a.tar", {"1.json": json.dumps(label).encode(), "1.png": PNG})

    data = load(path, "train")

    assert (data.classes, data.labels.tolist()) == (("1",), [0])


@pytest.mark.parametrize("ending", ["cls", "json"])
def test_labels_that_are_text_name_classes(tmp_path: Path, ending: str) -> None:
    texts = {n: json.dumps({"label": name}) if ending == "json" else name for n, name in enumerate(("emu", "cat"))}
    path = tar(
        tmp_path / "a.tar", {f"{n}.png": PNG for n in texts} | {f"{n}.{ending}": t.encode() for n, t in texts.items()}
    )

    data = load(path, "train")

    assert (data.classes, data.labels.tolist()) == (("cat", "emu"), [1, 0])
    assert "2 classes named by text labels (cat, emu)" in line(data)


def test_other_members_are_passed_over(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", {"1.txt": b"a coin", "1.PNG": PNG, "._1.png": b"", "1.seg.png": b"", "2.txt": b""})

    assert len(load(path, "train")) == 1


def test_images_of_any_kind_are_read(tmp_path: Path) -> None:
    members = {
        f"{n}.{kind}": encoded(IMAGES[n], {"jpg": "JPEG"}.get(kind, kind))
        for n, kind in enumerate(("png", "jpg", "webp"))
    }

    assert len(load(tar(tmp_path / "a.tar", members), "train")) == 3


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"1.png": PNG, "1.jpg": PNG}, r"1 has 2 images \(.png, .jpg\); expected one"),
        ({"1.png": PNG, "1.PNG": PNG}, "1 has 2 images"),
        ({"1.png": PNG, "1.cls": b"\xff"}, "1.cls holds no label; expected a number 0, 1, ... or a name"),
        ({"1.png": PNG, "1.cls": b"0", "2.png": PNG, "2.cls": b"cat"}, "some labels are text and others numbers"),
        ({"1.png": PNG, "1.cls": b"-1"}, "1.cls holds no label"),
        ({"1.png": PNG, "1.cls": b"9" * 5000}, "1.cls holds no label"),
        ({"1.png": PNG, "1.json": b"{"}, "1.json holds no label"),
        ({"1.png": PNG, "1.json": b"[" * 100_000}, "1.json holds no label"),
        ({"1.png": PNG, "1.json": b'{"label": 1.5}'}, "1.json holds no label"),
        ({"1.png": PNG, "1.json": b'{"label": true}'}, "1.json holds no label"),
        ({"1.png": PNG, "1.json": b'{"label": NaN}'}, "1.json holds no label"),
        ({"1.png": PNG, "1.json": b'{"label": 1000000}'}, "1.png has the label 1000000, not 0 to"),
        ({"1.png": PNG, "2.png": PNG, "2.cls": b"1"}, "1 of 2 images have no label"),
        ({"1.txt": b""}, "holds no image; expected PNG, JPEG"),
        ({}, "holds no image"),
        ({"../1.png": PNG}, "is not a valid member name"),
        ({"1.png": b""}, "a.tar/1.png is empty"),
    ],
)
def test_samples_that_make_no_sense_are_named(tmp_path: Path, members: dict[str, bytes], message: str) -> None:
    path = tar(tmp_path / "a.tar", members)

    with pytest.raises(DataError, match=message) as caught:
        load(path, "train")

    assert "a.tar" in str(caught.value)


def test_a_tar_that_was_cut_short_is_named(tmp_path: Path) -> None:
    path = shard(tmp_path / "a.tar", 0, 4)
    path.write_bytes(path.read_bytes()[:3000])

    with pytest.raises(DataError, match=r"a\.tar: .*cut short"):
        load(path, "train")


def labelled(count: int, start: int = 0) -> dict[str, bytes]:
    """Members of samples that are labelled 0 and 1 in turn."""
    members = {}
    for number in range(start, start + count):
        members[f"{number:03d}.png"] = encoded(IMAGES[number])
        members[f"{number:03d}.cls"] = b"%d" % (number % 2)
    return members


def test_tars_that_were_joined_end_to_end_are_read_to_the_end(tmp_path: Path) -> None:
    first, second = tar(tmp_path / "a", labelled(2)), tar(tmp_path / "b", labelled(2, start=2))
    path = tmp_path / "both.tar"
    path.write_bytes(first.read_bytes() + second.read_bytes())

    data = load(path, "train")

    assert np.array_equal(data.images, IMAGES)
    assert [(each.count, each.first) for each in data.passed_over] == [(1, ("both.tar",))]


@pytest.mark.parametrize("header", [0, 2, 6])
def test_a_header_of_zeros_is_not_taken_for_the_end(tmp_path: Path, header: int) -> None:
    path = tar(tmp_path / "a.tar", labelled(4))
    with tarfile.open(path) as archive:
        start = archive.getmembers()[header].offset
    content = bytearray(path.read_bytes())
    content[start : start + 512] = bytes(512)
    path.write_bytes(content)

    with pytest.raises(DataError, match=r"512 bytes of zeros stand where a header should, and data follow: .*copy it"):
        load(path, "train")


def test_dots_may_belong_to_a_name(tmp_path: Path) -> None:
    members = {}
    for name, label in (("v1_0", 0), ("v1.5_1", 1), ("n01.22.jpg_2", 0), ("2024.01", 1)):
        members[f"train.v1/{name}.png"] = PNG
        members[f"train.v1/{name}.cls"] = b"%d" % label

    assert load(tar(tmp_path / "a.tar", members), "train").labels.tolist() == [0, 1, 0, 1]


def test_further_images_of_a_sample_are_passed_over_and_said(tmp_path: Path) -> None:
    members = {"1.png": PNG, "1.seg.png": PNG, "1.cls": b"3", "1.boxes.json": b"[]", "1.txt": b"a coin"}

    data = load(tar(tmp_path / "a.tar", members), "train")

    assert len(data) == 1
    assert {each.reason: each.first for each in data.passed_over} == {
        "members that are neither images nor labels": ("1.txt",),
        "further members of samples": ("1.seg.png", "1.boxes.json"),
    }


def test_labels_may_stand_elsewhere_in_the_tar(tmp_path: Path) -> None:
    members = labelled(4)
    apart = {name: members[name] for name in sorted(members, key=lambda name: name.endswith(".png"))}

    data = load(tar(tmp_path / "a.tar", apart), "train")

    assert np.array_equal(data.images, IMAGES)
    assert data.labels.tolist() == [0, 1, 0, 1]


def test_labels_of_no_image_are_refused(tmp_path: Path) -> None:
    members = {"images/1.png": PNG, "labels/1.cls": b"1", "labels/2.cls": b"0"}

    with pytest.raises(DataError, match=r"2 labels belong to no image, such as that of labels/1; a label has the path"):
        load(tar(tmp_path / "a.tar", members), "train")


@pytest.mark.parametrize("content", [b"null", b"[]", b'[{"bbox": [1, 2]}]', b'"a coin"', b'{"label": null}', b"{}"])
def test_json_without_a_label_is_passed_over_and_said(tmp_path: Path, content: bytes) -> None:
    data = load(tar(tmp_path / "a.tar", {"1.png": PNG, "1.json": content}), "train")

    assert data.labels.tolist() == [-1]
    assert [(each.reason, each.first) for each in data.passed_over] == [(".json members without a label", ("1.json",))]


def test_folders_in_a_tar_are_no_classes_which_is_said(tmp_path: Path) -> None:
    data = load(tar(tmp_path / "a.tar", {"cat/1.png": PNG, "dog/1.png": PNG}), "train")

    assert data.classes == ()
    assert data.passed_over[0].first == ("cat", "dog")


@pytest.mark.parametrize(
    "names",
    [
        ("train-0.tar", "val-0.tar", "test-0.tar"),
        ("coins-train-000.tar", "coins-validation-000.tar", "coins-test-000.tar"),
        ("Train/0.tar", "Val/0.tar", "Test/0.tar"),
        ("training_0.tar.gz", "dev_0.tar.gz", "testing_0.tar.gz"),
    ],
)
def test_splits_are_not_merged(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name, count in zip(names, (3, 2, 1), strict=True):
        tar(tmp_path / name, labelled(count), mode="w:gz" if name.endswith("gz") else "w")

    train, test = load(tmp_path, "train"), load(tmp_path, "test")

    assert (len(train), len(test)) == (3, 1)
    assert [(each.count, each.first) for each in train.passed_over] == [(1, (names[1],))]


def test_tars_that_belong_to_no_split_are_refused_beside_those_that_do(tmp_path: Path) -> None:
    shard(tmp_path / "train-0.tar", 0, 2)
    shard(tmp_path / "more.tar", 2, 2)

    with pytest.raises(DataError, match=r"1 tars, such as more\.tar, belong to no split, but train-0\.tar does; give"):
        load(tmp_path, "train")


@pytest.mark.parametrize("name", ["a.tar.gz", "a.tgz", "a.tar"])
def test_a_gzipped_tar_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = tar(tmp_path / name, labelled(4), mode="w:gz")

    assert np.array_equal(load(path, "train").images, IMAGES)


def test_a_limit_takes_every_class_of_sorted_tars(tmp_path: Path) -> None:
    for number, label in enumerate((0, 1)):
        members = {f"{n}.png": encoded(IMAGES[2 * number + n]) for n in range(2)}
        tar(tmp_path / f"{number}.tar", members | {f"{n}.cls": b"%d" % label for n in range(2)})

    data = load(tmp_path, "train", limit=3)

    assert data.labels.tolist() == [0, 0, 1]
    assert np.array_equal(data.images, IMAGES[:3])
