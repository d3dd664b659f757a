"""WebDataset tars, and the output of a sample job."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from service.jobs.plan import Plan
from service.jobs.shards.formats.tar import TarWriter
from tests.training.data.files import encoded, pixels, tar
from training.data import has_split, load
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


def test_the_output_of_a_sample_job_can_be_trained_on(tmp_path: Path) -> None:
    (tmp_path / "job" / "shards").mkdir(parents=True)
    plan = cast(Plan, SimpleNamespace(sampling=SimpleNamespace(seed=3, latents=(), classes=()), model_digest="ab" * 32))
    for number in range(2):
        with (tmp_path / "job" / "shards" / f"{number:06d}.tar").open("wb") as file:
            writer = TarWriter(file, plan)
            writer.add(2 * number, IMAGES[2 * number : 2 * number + 2])
            writer.finish()
        (tmp_path / "job" / "shards" / f"{number:06d}.json").write_text("{}")
    (tmp_path / "job" / "plan.json").write_text("{}")

    data = load(tmp_path / "job", "train")

    assert np.array_equal(data.images, IMAGES)
    assert data.labels.tolist() == [-1] * 4
    assert data.classes == ()
    assert not has_split(tmp_path / "job", "test")


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

    assert load(path, "train").labels.tolist() == [1]


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
        ({"1.png": PNG, "1.PNG": PNG}, "1.PNG is there twice"),
        ({"1.png": PNG, "1.cls": b"cat"}, "1.cls holds no label; expected a number"),
        ({"1.png": PNG, "1.cls": b"-1"}, "1.cls holds no label"),
        ({"1.png": PNG, "1.cls": b"9" * 5000}, "1.cls holds no label"),
        ({"1.png": PNG, "1.json": b"{"}, "1.json holds no label"),
        ({"1.png": PNG, "1.json": b"[" * 100_000}, "1.json holds no label"),
        ({"1.png": PNG, "1.json": b'{"label": 1.5}'}, "1.json holds no label"),
        ({"1.png": PNG, "1.json": b'{"label": true}'}, "1.json holds no label"),
        ({"1.png": PNG, "1.json": b'{"label": NaN}'}, "1.json holds no label"),
        ({"1.png": PNG, "1.json": b'{"label": 1000000}'}, "1.png has the label 1000000, not 0 to"),
        ({"1.png": PNG, "2.png": PNG, "2.cls": b"1"}, "1 of 2 images have no label"),
        ({"1.txt": b""}, "holds no image; expected members that end in .png"),
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
