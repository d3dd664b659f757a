"""Folders of images, with one folder per class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.data.files import huge_png
from training.data import has_split, load
from training.errors import DataError


def picture(path: Path, *, size: tuple[int, int] = (5, 4), mode: str = "L", value: int = 9) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, value if mode == "L" else (value, 0, 0)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    picture(tmp_path / "dog" / "2.png", value=2)
    picture(tmp_path / "dog" / "1.bmp", value=1)
    picture(tmp_path / "cat" / "1.PNG", value=3)
    (tmp_path / "cat" / "notes.txt").write_text("not an image")
    return tmp_path


def test_classes_and_images_come_in_the_order_of_their_names(folder: Path) -> None:
    data = load(folder, "train")

    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [0, 1, 1]
    assert data.images.shape == (3, 4, 5, 1)
    assert data.images[:, 0, 0, 0].tolist() == [3, 1, 2]


def test_one_coloured_image_makes_all_of_them_coloured(folder: Path) -> None:
    picture(folder / "dog" / "3.png", mode="RGB", value=200)

    data = load(folder, "train")

    assert data.shape == (4, 5, 3)
    assert data.images[-1, 0, 0].tolist() == [200, 0, 0]


def test_splits_are_folders_of_class_folders(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "cat" / "1.png", value=1)
    picture(tmp_path / "test" / "cat" / "1.png", value=2)

    assert has_split(tmp_path, "test")
    assert load(tmp_path, "train").images.max() == 1
    assert load(tmp_path, "test").images.max() == 2


def test_a_bare_folder_of_classes_has_no_test_split(folder: Path) -> None:
    assert not has_split(folder, "test")
    with pytest.raises(DataError, match="no test folder"):
        load(folder, "test")


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder; use `digits` or"):
        load(tmp_path / "nowhere", "train")


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not an image")

    with pytest.raises(DataError, match="neither IDX files nor one folder per class nor images"):
        load(tmp_path, "train")


def test_images_without_class_folders_have_no_labels(tmp_path: Path) -> None:
    for value in (2, 1):
        picture(tmp_path / f"{value}.png", value=value)

    data = load(tmp_path, "train")

    assert data.images[:, 0, 0, 0].tolist() == [1, 2]
    assert data.labels.tolist() == [-1, -1]
    assert data.classes == ()


def test_photographs_of_any_size_and_without_labels_become_alike(tmp_path: Path) -> None:
    for split, sides in (("train", (40, 50, 60)), ("test", (70,))):
        (tmp_path / split).mkdir()
        for side in sides:
            Image.new("RGB", (side, 45), (side, 0, 200)).save(tmp_path / split / f"{side}.jpg")

    train, test = (load(tmp_path, split, size=(16, 12), channels=3) for split in ("train", "test"))

    assert (train.images.shape, test.images.shape) == ((3, 16, 12, 3), (1, 16, 12, 3))
    assert (train.classes, test.labels.tolist()) == ((), [-1])
    assert load(tmp_path, "train", size=(16, 12), channels=1, limit=2).images.shape == (2, 16, 12, 1)


def test_a_limit_takes_images_of_each_class_in_turn(folder: Path) -> None:
    picture(folder / "cat" / "2.png", value=4)

    data = load(folder, "train", limit=3)

    assert data.labels.tolist() == [0, 0, 1]
    assert data.images[:, 0, 0, 0].tolist() == [3, 4, 1]


def test_images_beside_class_folders_are_not_left_out_in_silence(folder: Path) -> None:
    picture(folder / "loose.png", value=4)

    with pytest.raises(DataError, match=r"has 1 images, such as loose\.png, beside folders of classes, such as cat"):
        load(folder, "train")


def test_an_empty_class_is_named(folder: Path) -> None:
    (folder / "emu").mkdir()

    with pytest.raises(DataError, match="emu holds no image"):
        load(folder, "train")


def test_images_of_another_size_are_named(folder: Path) -> None:
    picture(folder / "dog" / "9.png", size=(6, 6))

    with pytest.raises(DataError, match=r"9\.png is 6x6, not 5x4 like .*1\.PNG; resize"):
        load(folder, "train")


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n"])
def test_a_file_that_is_no_image_is_named(folder: Path, content: bytes) -> None:
    (folder / "dog" / "9.png").write_bytes(content)

    with pytest.raises(DataError, match=r"9\.png"):
        load(folder, "train")


def test_a_truncated_image_is_named(folder: Path) -> None:
    path = folder / "dog" / "9.png"
    noise = np.random.default_rng(0).integers(0, 256, (4, 5), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:50])

    with pytest.raises(DataError, match=r"9\.png cannot be"):
        load(folder, "train")


def test_an_image_in_another_format_than_its_name_says_is_named(folder: Path) -> None:
    picture(folder / "dog" / "9.bmp")
    (folder / "dog" / "9.bmp").rename(folder / "dog" / "9.png")

    with pytest.raises(DataError, match=r"9\.png is not a PNG image"):
        load(folder, "train")


@pytest.mark.parametrize(("width", "height"), [(3000, 3000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_an_image_that_claims_too_many_pixels_is_refused_before_it_is_decoded(
    folder: Path, width: int, height: int
) -> None:
    (folder / "dog" / "9.png").write_bytes(huge_png(width, height))

    with pytest.raises(DataError, match=r"9\.png .*pixels"):
        load(folder, "train")
