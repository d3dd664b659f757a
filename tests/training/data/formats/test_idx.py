"""IDX files, whole and damaged."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data import DIGITS, has_split, load
from training.data.formats.idx import read_idx
from training.errors import DataError


def idx(values: np.ndarray) -> bytes:
    return struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()


IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


def written(folder: Path, content: bytes, name: str = "images") -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


@pytest.mark.parametrize("name", ["images", "images.gz"])
def test_a_file_is_read_plain_or_gzipped(tmp_path: Path, name: str) -> None:
    assert np.array_equal(read_idx(written(tmp_path, idx(IMAGES), name), dimensions=3), IMAGES)


@pytest.mark.parametrize("name", ["images", "images.gz"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with nothing"),
        (b"\x89PNG\r\n\x1a\n", "begins with 89504e47"),
        (idx(IMAGES.ravel()), "begins with 00000801; 00000803 was expected"),
        (struct.pack(">HBB3I", 0, 0xD, 3, 2, 3, 4), "begins with 00000d03"),
        (idx(IMAGES)[:10], "ends inside its header"),
        (idx(IMAGES)[:-1], "should hold 24 bytes after its header, but holds only 23"),
        (idx(IMAGES) + b"x", "should hold 24 bytes after its header, but holds more"),
        (struct.pack(">HBB3I", 0, 8, 3, 2**32 - 1, 2**32 - 1, 2**32 - 1), "can hold only"),
        (struct.pack(">HBB3I", 0, 8, 3, 0, 28, 28), "can hold only"),
    ],
)
def test_a_damaged_file_is_refused_by_name(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    path = written(tmp_path, content, name)

    with pytest.raises(DataError, match=message) as caught:
        read_idx(path, dimensions=3)

    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    "spoil", [lambda b: b[:-9], lambda b: b[:15], lambda b: b"no gzip", lambda b: b[:20] + b"\xff" * 9]
)
def test_a_damaged_gzip_file_is_refused_by_name(tmp_path: Path, spoil: object) -> None:
    path = tmp_path / "images.gz"
    assert callable(spoil)
    path.write_bytes(spoil(gzip.compress(idx(IMAGES))))

    with pytest.raises(DataError, match=r"images\.gz"):
        read_idx(path, dimensions=3)


@settings(max_examples=50)
@given(content=st.binary(max_size=60))
def test_no_bytes_whatever_raise_anything_but_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = tmp_path_factory.mktemp("idx") / "images"
    path.write_bytes(b"\x00\x00\x08\x01" + content)

    try:
        values = read_idx(path, dimensions=1)
    except DataError:
        return
    assert values.nbytes == len(content) - 4


def test_the_bundled_digits_are_the_first_of_mnist() -> None:
    train, test = load("digits", "train"), load("digits", "test")

    assert (len(train), len(test)) == (10_000, 2_000)
    assert train.shape == test.shape == (28, 28, 1)
    assert train.classes == tuple("0123456789")
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    assert sum(path.stat().st_size for path in DIGITS.iterdir()) < 3_000_000


def test_a_folder_in_the_layout_of_mnist_is_read_by_split(tmp_path: Path) -> None:
    written(tmp_path, idx(IMAGES), "train-images-idx3-ubyte.gz")
    written(tmp_path, idx(np.array([0, 1])), "train-labels-idx1-ubyte")

    data = load(tmp_path, "train")

    assert data.images.shape == (2, 3, 4, 1)
    assert data.labels.tolist() == [0, 1]
    assert data.classes == ("0", "1")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    written(tmp_path, idx(IMAGES), "train-images-idx3-ubyte.gz")

    with pytest.raises(DataError, match="has neither train-labels-idx1-ubyte nor"):
        load(tmp_path, "train")


def test_images_and_labels_must_be_of_one_number(tmp_path: Path) -> None:
    written(tmp_path, idx(IMAGES), "train-images-idx3-ubyte")
    written(tmp_path, idx(np.zeros(3)), "train-labels-idx1-ubyte")

    with pytest.raises(DataError, match=r"holds 2 images, but .* holds 3 labels"):
        load(tmp_path, "train")


def test_idx_folders_have_both_splits() -> None:
    assert has_split("digits", "test")


def mnist(folder: Path, *, before: str = "", test: str = "t10k", ending: str = "", dot: str = "-") -> None:
    """The four files of a set; labels 1 to 2."""
    folder.mkdir(parents=True, exist_ok=True)
    for split in ("train", test):
        written(folder, idx(IMAGES), f"{before}{split}-images{dot}idx3-ubyte{ending}")
        written(folder, idx(np.array([1, 2])), f"{before}{split}-labels{dot}idx1-ubyte{ending}")


@pytest.mark.parametrize("inside", ["MNIST/raw", "raw", "", "FashionMNIST/raw"])
def test_the_folders_of_torchvision_are_read(tmp_path: Path, inside: str) -> None:
    mnist(tmp_path / inside)
    mnist(tmp_path / inside, ending=".gz")

    assert len(load(tmp_path, "train")) == len(load(tmp_path, "test")) == 2


def test_the_names_of_emnist_are_read_and_its_labels_begin_at_one(tmp_path: Path) -> None:
    mnist(tmp_path, before="emnist-letters-", test="test", ending=".gz")

    data = load(tmp_path, "test")

    assert (data.classes, data.labels.tolist()) == (("1", "2"), [0, 1])


def test_several_sets_are_not_mixed(tmp_path: Path) -> None:
    for name in ("letters", "digits"):
        mnist(tmp_path, before=f"emnist-{name}-", test="test")

    with pytest.raises(DataError, match=r"2 sets of IDX files \(.*emnist-digits, .*emnist-letters\); put the files of"):
        load(tmp_path, "train")


def test_files_in_further_folders_are_said(tmp_path: Path) -> None:
    mnist(tmp_path, dot=".")
    mnist(tmp_path / "train-images-idx3-ubyte")

    assert load(tmp_path, "train").passed_over[0].count == 4


@pytest.mark.parametrize(
    ("ending", "content"), [("", gzip.compress(idx(IMAGES))), (".gz", idx(IMAGES))], ids=["zipped", "plain"]
)
def test_the_content_decides_whether_a_file_is_gzipped(tmp_path: Path, ending: str, content: bytes) -> None:
    path = tmp_path / f"images{ending}"
    path.write_bytes(content)

    assert np.array_equal(read_idx(path, dimensions=3), IMAGES)


def test_a_set_without_test_images_has_no_test_split(tmp_path: Path) -> None:
    mnist(tmp_path)
    (tmp_path / "t10k-images-idx3-ubyte").unlink()

    assert not has_split(tmp_path, "test")
    assert load(tmp_path, "train", limit=1).passed_over[0].count == 1
