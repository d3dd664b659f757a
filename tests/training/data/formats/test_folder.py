"""Folders of images, with one folder per class."""

from __future__ import annotations

import os
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

    with pytest.raises(DataError, match="holds no image; expected PNG, JPEG, WebP"):
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


@pytest.mark.parametrize("name", ["9.png", "9.JPG", "9.dat", "9"])
def test_the_content_decides_what_is_an_image_and_in_which_format(folder: Path, name: str) -> None:
    picture(folder / "dog" / "9.bmp", value=7)
    (folder / "dog" / "9.bmp").rename(folder / "dog" / name)

    assert load(folder, "train").images[-1].max() == 7


@pytest.mark.parametrize(
    ("ending", "kind"),
    [("gif", "GIF"), ("tif", "TIFF"), ("tiff", "TIFF"), ("jfif", "JPEG"), ("jpe", "JPEG"), ("ppm", "PPM")],
)
def test_images_of_every_kind_are_read_beside_others(folder: Path, ending: str, kind: str) -> None:
    Image.new("RGB", (5, 4), (7, 7, 7)).save(folder / "dog" / f"9.{ending}", kind)

    data = load(folder, "train")

    assert len(data) == 4
    assert data.images[-1].max() == 7


def test_images_of_formats_that_are_not_read_count_as_damaged(folder: Path) -> None:
    (folder / "dog" / "9.heic").write_bytes(b"\0\0\0\x18ftypheic")

    with pytest.raises(DataError, match=r"1 of 4 images are damaged .*9\.heic is not a PNG, JPEG, WebP"):
        load(folder, "train")


def test_links_that_lead_nowhere_count_as_damaged(folder: Path) -> None:
    (folder / "dog" / "9.png").symlink_to("/nowhere/9.png")

    with pytest.raises(DataError, match=r"9\.png is a link that leads nowhere"):
        load(folder, "train")


def test_images_below_the_folder_of_a_class_belong_to_it(folder: Path) -> None:
    picture(folder / "cat" / "1000" / "indoors" / "1.png", value=5)
    picture(folder / "cat" / "2000" / "1.png", value=6)

    data = load(folder, "train")

    assert data.classes == ("cat", "dog")
    assert data.labels.tolist() == [0, 0, 0, 1, 1]


def test_a_link_back_is_not_followed_for_ever(folder: Path) -> None:
    (folder / "dog" / "again").symlink_to(folder)

    data = load(folder, "train")

    assert len(data) == 3
    assert [(each.reason, each.first) for each in data.passed_over][-1] == (
        "links to a folder that holds them",
        ("again",),
    )


def test_what_is_passed_over_is_counted_by_reason_with_the_first_names(folder: Path) -> None:
    for number in range(5):
        (folder / "dog" / f"{number}.txt").write_text("a caption")
    (folder / ".DS_Store").write_bytes(b"x")

    passed_over = {each.reason: (each.count, each.first) for each in load(folder, "train").passed_over}

    assert passed_over == {
        "hidden files and folders": (1, (".DS_Store",)),
        "files that are no images": (6, ("notes.txt", "0.txt", "1.txt")),
    }


@pytest.mark.parametrize(("train", "test"), [("Train", "Test"), ("training", "testing"), ("TRAIN", "test")])
def test_splits_may_be_spelled_otherwise(tmp_path: Path, train: str, test: str) -> None:
    picture(tmp_path / train / "1.png", value=1)
    picture(tmp_path / test / "1.png", value=2)

    assert (load(tmp_path, "train").images.max(), load(tmp_path, "test").images.max()) == (1, 2)


def test_a_further_split_is_passed_over_and_said(tmp_path: Path) -> None:
    for split in ("train", "val"):
        picture(tmp_path / split / "cat" / "1.png")

    data = load(tmp_path, "train")

    assert (len(data), has_split(tmp_path, "test")) == (1, False)
    assert [(each.reason, each.count) for each in data.passed_over] == [
        ("images of the split val, which is not used unless it is named with --data", 1)
    ]


def test_a_class_called_train_is_not_taken_for_the_split(tmp_path: Path) -> None:
    for name in ("bus", "train"):
        picture(tmp_path / name / "1.png")

    with pytest.raises(DataError, match="has bus beside the folder train: if train is a class, put the folders of all"):
        load(tmp_path, "train")


def test_images_beside_the_splits_are_not_left_out_in_silence(tmp_path: Path) -> None:
    picture(tmp_path / "train" / "1.png")
    picture(tmp_path / "2.png")

    with pytest.raises(DataError, match=r"has 2\.png beside the folder train"):
        load(tmp_path, "train")


@pytest.mark.parametrize("name", [b"caf\xe9", b"new\nline", b"bell\a"])
def test_a_name_of_a_class_that_cannot_be_written_is_refused_at_the_door(folder: Path, name: bytes) -> None:
    new = Path(os.fsdecode(os.fsencode(folder) + b"/" + name))
    picture(new / "1.png")

    with pytest.raises(DataError, match="has a name that is not printable text in UTF-8; rename it"):
        load(folder, "train")


def test_a_source_whose_name_cannot_be_written_is_refused_at_the_door(folder: Path) -> None:
    new = folder.with_name("new\nline")
    folder.rename(new)

    with pytest.raises(DataError, match=r"new\\nline' has a name that is not printable"):
        load(new, "train")


@pytest.mark.parametrize(("width", "height"), [(3000, 3000), (20_000, 20_000), (2**31 - 1, 2**31 - 1)])
def test_an_image_that_claims_too_many_pixels_is_refused_before_it_is_decoded(
    folder: Path, width: int, height: int
) -> None:
    (folder / "dog" / "9.png").write_bytes(huge_png(width, height))

    with pytest.raises(DataError, match=r"9\.png .*pixels"):
        load(folder, "train")
