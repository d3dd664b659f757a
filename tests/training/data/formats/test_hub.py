"""Names of the Hugging Face hub, with a library that only looks like the real one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tests.training.data.files import encoded, pixels
from training.data import has_split, load
from training.errors import DataError

IMAGES = pixels(5)
FILES = [encoded(image) for image in IMAGES]


@dataclass
class FakeImage:
    """A column of images."""

    decode: bool = True


@dataclass
class FakeClassLabel:
    """A column of labels."""

    names: list[str]
    dtype: str = "int64"


@dataclass
class FakeValue:
    """Any other column."""

    dtype: str


@dataclass
class FakeDataset:
    """What `load_dataset` returns."""

    features: dict[str, Any]
    rows: dict[str, list[Any]]
    cache_files: list[dict[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(next(iter(self.rows.values())))

    def select_columns(self, names: list[str]) -> FakeDataset:
        return replace(self, rows={name: self.rows[name] for name in names})

    def cast_column(self, name: str, feature: FakeImage) -> FakeDataset:
        assert not feature.decode
        return self

    def select(self, numbers: list[int]) -> FakeDataset:
        return replace(self, rows={name: [values[n] for n in numbers] for name, values in self.rows.items()})

    def iter(self, batch_size: int) -> Iterator[dict[str, list[Any]]]:
        for start in range(0, len(self), batch_size):
            yield {name: values[start : start + batch_size] for name, values in self.rows.items()}


class FakeLibrary(SimpleNamespace):
    """Stands in for the library; remembers what it was asked."""

    Image, ClassLabel = FakeImage, FakeClassLabel

    def __init__(self, dataset: FakeDataset | Exception) -> None:
        super().__init__(dataset=dataset, asked=[])

    def load_dataset(self, name: str, *, split: str, revision: str | None) -> FakeDataset:
        self.asked.append((name, split, revision))
        if isinstance(self.dataset, Exception):
            raise self.dataset
        assert isinstance(self.dataset, FakeDataset)
        return self.dataset

    def get_dataset_split_names(self, name: str, *, revision: str | None) -> list[str]:
        return ["train", "validation"]


def installed(monkeypatch: pytest.MonkeyPatch, dataset: FakeDataset | Exception) -> FakeLibrary:
    library = FakeLibrary(dataset)
    monkeypatch.setitem(sys.modules, "datasets", library)
    return library


def coins(**columns: list[Any]) -> FakeDataset:
    rows: dict[str, list[Any]] = {
        "text": ["a"] * 5,
        "image": [{"bytes": data, "path": None} for data in FILES],
        **columns,
    }
    features: dict[str, Any] = {"text": FakeValue("string"), "image": FakeImage()}
    if "label" in columns:
        features["label"] = FakeClassLabel(["heads", "tails"])
    return FakeDataset(features, rows)


def test_a_name_is_loaded_with_labels_and_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    library = installed(monkeypatch, coins(label=[0, 1, 0, 1, 1]))

    data = load("hf:royal-mint/coins.v2@refs/convert", "train")

    assert library.asked == [("royal-mint/coins.v2", "train", "refs/convert")]
    assert np.array_equal(data.images, IMAGES)
    assert data.labels.tolist() == [0, 1, 0, 1, 1]
    assert data.classes == ("heads", "tails")
    assert data.name == "hf:royal-mint/coins.v2@refs/convert"


def test_images_may_be_without_labels_and_have_another_name(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = coins()
    dataset.features["img"], dataset.rows["img"] = dataset.features.pop("image"), dataset.rows.pop("image")
    installed(monkeypatch, dataset)

    data = load("hf:mint/coins", "train", limit=3)

    assert (len(data), data.classes) == (3, ())


def test_columns_of_no_declared_kind_go_by_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = coins(label=[0, 2, 0, 1, 1])
    dataset.features |= {"image": FakeValue("struct"), "label": FakeValue("int64")}
    installed(monkeypatch, dataset)

    data = load("hf:mint/coins", "train")

    assert data.labels.tolist() == [0, 2, 0, 1, 1]
    assert data.classes == ("0", "1", "2")


def test_labels_that_are_words_name_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = coins(label=["tails", "heads", "heads", "tails", "heads"])
    dataset.features["label"] = FakeValue("string")
    installed(monkeypatch, dataset)

    data = load("hf:mint/coins", "train")

    assert (data.classes, data.labels.tolist()) == (("heads", "tails"), [1, 0, 0, 1, 0])
    assert load("hf:mint/coins", "train", limit=2).classes == ("heads", "tails")


def test_labels_of_no_kind_that_names_classes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = coins(label=[0.5] * 5)
    dataset.features["label"] = FakeValue("float32")
    installed(monkeypatch, dataset)

    with pytest.raises(DataError, match=r"hf:mint/coins has a column label of float32; integers 0, 1"):
        load("hf:mint/coins", "train")


def test_a_fault_while_the_rows_are_read_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, coins(image=[{"neither": "nor"}] * 5))

    with pytest.raises(DataError, match="hf:mint/coins cannot be loaded: 'bytes'"):
        load("hf:mint/coins", "train")


def test_images_that_the_library_keeps_as_files_are_read_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "coin").write_bytes(FILES[2])
    installed(monkeypatch, coins(image=[{"bytes": None, "path": str(tmp_path / "coin")}] * 5))

    assert np.array_equal(load("hf:mint/coins", "train").images[0], IMAGES[2])


def test_what_the_library_downloaded_is_cached_by_its_content(
    tmp_path: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "coins-train.arrow").write_bytes(b"rows")
    installed(monkeypatch, replace(coins(), cache_files=[{"filename": str(tmp_path / "coins-train.arrow")}]))

    load("hf:mint/coins", "train")

    assert len(list(cache_folder.glob("*/images.npy"))) == 1


def test_what_lives_in_memory_is_not_cached(cache_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, coins())

    load("hf:mint/coins", "train")

    assert not cache_folder.exists()


def test_splits_are_those_of_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, coins())

    assert has_split("hf:mint/coins", "train")
    assert not has_split("hf:mint/coins", "test")


def test_a_data_set_without_images_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, FakeDataset({"text": FakeValue("string")}, rows={"text": ["a"]}))

    with pytest.raises(DataError, match="hf:mint/coins has the columns text, none of images"):
        load("hf:mint/coins", "train")


def test_an_error_of_the_library_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, ConnectionError("the hub is out of reach\nand more"))

    with pytest.raises(DataError, match=r"^hf:mint/coins cannot be loaded: the hub is out of reach$"):
        load("hf:mint/coins", "train")


@pytest.mark.parametrize(
    "name", ["hf:", "hf:coins", "hf:/etc/passwd", "hf:../coins", "hf:a/b/c", "hf:a/b@", "hf:a/b c"]
)
def test_a_name_that_is_none_is_refused_before_the_network_is_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    library = installed(monkeypatch, coins())

    with pytest.raises(DataError, match=r"is not a name on the hub; expected hf:owner/name"):
        load(name, "train")
    assert library.asked == []


def test_without_the_library_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)

    with pytest.raises(DataError, match=r"need the datasets library; get it with: \./mint extra datasets"):
        load("hf:mint/coins", "train")


def test_a_limit_takes_rows_of_every_class(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, coins(label=[0, 0, 0, 1, 1]))

    data = load("hf:mint/coins", "train", limit=2)

    assert data.labels.tolist() == [0, 1]
    assert np.array_equal(data.images, IMAGES[[0, 3]])


def test_a_column_that_is_declared_to_be_labels_is_used_whatever_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = coins(side=[0, 1, 0, 1, 1])
    dataset.features["side"] = FakeClassLabel(["heads", "tails"])
    installed(monkeypatch, dataset)

    data = load("hf:mint/coins", "train")

    assert data.classes == ("heads", "tails")
    assert [(each.reason, each.first) for each in data.passed_over] == [("columns that are not read", ("text",))]
