"""What sample jobs write, in every format, is data."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from service.jobs.dispatch.finalize import finalize
from service.jobs.plan import Plan
from service.jobs.storage.local_store import LocalStore
from tests.support.plans import sample_plan
from tests.support.shards import FORMATS, make_shard, output_of, pictures
from tests.training.data.files import encoded, pixels
from training.data import has_split, load
from training.errors import DataError

every_format = pytest.mark.parametrize("form", FORMATS)


def job(root: Path, form: str, *, classes: tuple[str, ...] = (), shards: int = 3) -> tuple[Plan, Path]:
    """The folder of a job of 10 images in three shards, finished if all are made."""
    plan = sample_plan(format=form)
    assert plan.sampling is not None
    plan = dataclasses.replace(plan, sampling=dataclasses.replace(plan.sampling, classes=classes))
    output = output_of(root, plan)
    output.put("plan.json", plan.to_json())
    for shard in range(shards):
        make_shard(output, plan, shard)
    if shards == plan.shards:
        finalize(LocalStore(root), plan, cancelled=False, errors={})
    return plan, root / plan.prefix


@every_format
def test_images_without_classes_are_read_in_order(tmp_path: Path, form: str) -> None:
    plan, folder = job(tmp_path, form)

    data = load(folder, "train")

    assert np.array_equal(data.images, pictures(range(10), plan))
    assert (data.classes, set(data.labels.tolist()), data.name) == ((), {-1}, str(folder))
    assert not has_split(folder, "test")


@every_format
def test_classes_are_those_of_the_generator(tmp_path: Path, form: str) -> None:
    plan, folder = job(tmp_path, form, classes=("cat", "dog", "emu"))

    data = load(folder, "train")

    assert np.array_equal(data.images, pictures(range(10), plan))
    assert data.classes == ("cat", "dog", "emu")
    assert data.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize(
    ("form", "first"), [("webdataset-png", None), ("png-folder", ("SHA256SUMS",)), ("npz", ("index",))]
)
def test_what_is_passed_over_is_named_once(tmp_path: Path, form: str, first: tuple[str, ...] | None) -> None:
    _, folder = job(tmp_path, form, classes=("cat", "dog"))

    assert [each.first for each in load(folder, "train").passed_over] == ([] if first is None else [first])


@every_format
def test_an_unfinished_job_says_what_is_missing(tmp_path: Path, form: str) -> None:
    plan, folder = job(tmp_path, form, shards=2)

    data = load(folder, "train")

    assert np.array_equal(data.images, pictures(range(8), plan))
    assert {each.reason: each.count for each in data.passed_over}[
        "images that the job has not made, or that were removed"
    ] == 2


@every_format
def test_the_data_folder_alone_is_data_too(tmp_path: Path, form: str) -> None:
    plan, folder = job(tmp_path, form, classes=("cat", "dog"))

    data = load(folder / "data", "train")

    assert np.array_equal(data.images, pictures(range(10), plan))
    assert data.labels.tolist() == [0, 1] * 5


def test_the_joined_file_of_npz_is_data_too(tmp_path: Path) -> None:
    plan, folder = job(tmp_path, "npz", classes=("cat", "dog"))

    data = load(folder / "samples_10x4x3x1.npz", "train")

    assert np.array_equal(data.images, pictures(range(10), plan))
    assert data.classes == ("0", "1")
    assert data.passed_over[0].first == ("index",)


def test_labels_of_images_that_are_gone_are_refused(tmp_path: Path) -> None:
    _, folder = job(tmp_path, "png-folder")
    next((folder / "data").rglob("000000005.png")).unlink()

    with pytest.raises(DataError, match=r"metadata\.jsonl describes 1 images that are not there, such as .*000000005"):
        load(folder, "train")


@pytest.mark.parametrize("line", ["{", "[]", '{"name": "1.png"}', '{"file_name": "1.png", "label": 0.5}'])
def test_a_description_that_makes_no_sense_is_named(tmp_path: Path, line: str) -> None:
    _, folder = job(tmp_path, "png-folder")
    metadata = folder / "data" / "train" / "metadata.jsonl"
    metadata.write_text(metadata.read_text() + line + "\n")

    with pytest.raises(DataError, match=r"metadata\.jsonl, line 11, (is no JSON object|has the label)"):
        load(folder, "train")


def test_labels_that_were_changed_are_read_anew(tmp_path: Path) -> None:
    _, folder = job(tmp_path, "png-folder", classes=("cat", "dog"))
    before = load(folder, "train").labels.tolist()
    metadata = folder / "data" / "train" / "metadata.jsonl"
    lines = [json.loads(line) for line in metadata.read_text().splitlines()]
    metadata.write_text("".join(json.dumps(line | {"label": 1 - line["label"]}) + "\n" for line in lines))

    assert load(folder, "train").labels.tolist() == [1 - label for label in before]


def test_a_data_set_inside_a_folder_is_not_taken_for_a_class(tmp_path: Path) -> None:
    _, folder = job(tmp_path, "png-folder")
    (folder / "plan.json").unlink()

    with pytest.raises(DataError, match=r"data holds the folder train: if it is a data set and not a class, name it"):
        load(folder, "train")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": np.zeros((2, 4, 4, 1), np.uint8)}, "holds x_train; expected arr_0, images uint8"),
        ({"arr_0": np.zeros((2, 4, 4, 1), np.float32)}, "holds arr_0; expected arr_0, images uint8"),
        (
            {"arr_0": np.zeros((2, 4, 4, 1), np.uint8), "arr_1": np.zeros(3, np.int64)},
            "expected one number or text per",
        ),
        ({"arr_0": np.zeros((2, 4, 4, 1), np.uint8), "arr_1": np.array([0, -7])}, "labels from -7 to 0"),
    ],
)
def test_arrays_that_make_no_sense_are_named(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]

    with pytest.raises(DataError, match=message):
        load(tmp_path / "a.npz", "train")


def test_labels_that_are_text_name_classes(tmp_path: Path) -> None:
    np.savez(tmp_path / "train-0.npz", arr_0=np.zeros((2, 4, 4, 1), np.uint8), arr_1=np.array(["emu", "cat"]))
    np.savez(tmp_path / "train-1.npz", arr_0=np.zeros((1, 4, 4, 1), np.uint8), arr_1=np.array(["a dog"]))

    data = load(tmp_path, "train")

    assert (data.classes, data.labels.tolist(), data.text_labels) == (("a dog", "cat", "emu"), [2, 1, 0], True)
    np.savez(tmp_path / "train-2.npz", arr_0=np.zeros((1, 4, 4, 1), np.uint8))
    with pytest.raises(DataError, match="labels are text in some files and not in others"):
        load(tmp_path, "train")


def test_names_of_classes_may_stand_in_metadata(tmp_path: Path) -> None:
    for n in range(2):
        (tmp_path / f"{n}.png").write_bytes(encoded(pixels(1)[0]))
    lines = [{"file_name": "0.png", "label": "emu"}, {"file_name": "1.png", "label": "cat"}]
    (tmp_path / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    data = load(tmp_path, "train")

    assert (data.classes, data.labels.tolist()) == (("cat", "emu"), [1, 0])


def test_a_file_that_is_no_npz_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.npz").write_bytes(b"no archive")

    with pytest.raises(DataError, match=r"a\.npz is no npz file, or is damaged"):
        load(tmp_path / "a.npz", "train")
