"""What is typed about data, and what is said while it is decoded."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from rich.progress import Progress

from service.cli import data_options as module
from service.cli.data_options import (
    SOURCES,
    bars,
    data_options,
    joined_splits,
    load_split,
    load_splits,
    without_labels_of_others,
)
from tests.training.data.files import encoded, tar
from training.data import Options
from training.errors import DataError


@pytest.fixture(autouse=True)
def no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINTAGE_CACHE_DIR", "off")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve colour images to train with, of which one is damaged, and three to test with."""
    for split, count in (("train", 12), ("test", 3)):
        (tmp_path / split).mkdir()
        for number in range(count):
            pixels = np.random.default_rng(number).integers(0, 256, (8, 6, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / split / f"{number:02d}.png")
    (tmp_path / "train" / "05.png").write_bytes(b"no image")
    return tmp_path


def write_tar(path: Path, labels: tuple[int, ...]) -> None:
    """A WebDataset tar, which names no classes."""
    image = encoded(np.zeros((4, 4, 1), np.uint8))
    tar(
        path,
        {f"{n}.{end}": image if end == "png" else b"%d" % k for n, k in enumerate(labels) for end in ("png", "cls")},
    )


@pytest.mark.parametrize(("text", "size"), [("64", (64, 64)), ("48x64", (48, 64)), (" 48X64 ", (48, 64))])
def test_a_size_is_a_side_or_height_and_width(text: str, size: tuple[int, int]) -> None:
    assert data_options(size=text).size == size


@pytest.mark.parametrize("text", ["", "x", "64x", "x64", "-3", "3.5", "64x64x3", "64 64"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="expected one number of pixels, such as 64, or height x width"):
        data_options(size=text)


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"size": "0"}, "--size 0x0 must be H x W, each from 1 to 4096 pixels"),
        ({"channels": 2}, "--channels 2 must be 1 .grey. or 3 .colour."),
        ({"limit": 0}, "--limit 0 must be at least 1 image"),
        ({"max_damaged": -1}, "--max-damaged -1 must lie from 0"),
        ({"jpeg": 96}, "--jpeg 96 must lie from 1 to 95"),
    ],
)
def test_values_out_of_range_are_refused(typed: dict[str, str | int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        data_options(**typed)  # type: ignore[arg-type]


def test_the_help_names_every_source() -> None:
    for word in ("digits", "IDX", "CIFAR", "Parquet", "WebDataset", "a class", ".parquet", ".tar", ".tar.gz", "hf:"):
        assert word in SOURCES


def test_both_splits_are_made_alike(folder: Path) -> None:
    found = load_splits(str(folder), data_options(size="4x5", channels=1, limit=2))

    assert found.test is not None
    assert found.train.images.shape == found.test.images.shape == (2, 4, 5, 1)


def test_a_source_without_test_images_has_none(folder: Path) -> None:
    assert load_splits(str(folder / "test"), Options()).test is None


def test_a_class_that_few_images_do_not_show_is_there_all_the_same(tmp_path: Path) -> None:
    for split, labels in (("train", (0, 1, 0)), ("test", (0, 1, 2))):
        write_tar(tmp_path / f"{split}.tar", labels)

    found = load_splits(str(tmp_path), Options())

    assert found.test is not None
    assert found.train.classes == found.test.classes == ("0", "1", "2")


def write_classes(folder: Path, *names: str) -> None:
    """One image per class."""
    for name in names:
        (folder / name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(folder / name / "1.png")


def test_test_images_may_lack_a_class(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", "cat", "dog", "emu")
    write_classes(tmp_path / "test", "cat", "emu")

    found = load_splits(str(tmp_path), Options())

    assert found.test is not None
    assert found.train.classes == found.test.classes == ("cat", "dog", "emu")
    assert found.test.labels.tolist() == [0, 2]


def test_classes_of_other_names_stay_as_they_are_where_labels_are_learnt(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", "cat", "dog")
    write_classes(tmp_path / "test", "cat", "emu")

    found = load_splits(str(tmp_path), Options())
    unlearnt = without_labels_of_others(found)

    assert found.test is not None
    assert (found.train.classes, found.test.classes) == (("cat", "dog"), ("cat", "emu"))
    assert unlearnt.test is not None
    assert (unlearnt.train.classes, unlearnt.test.classes, len(unlearnt.test)) == (("cat", "dog"), (), 2)


def test_sources_are_joined_split_by_split(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    labelled = tmp_path_factory.mktemp("labelled")
    for split, labels in (("train", (0, 1, 0)), ("test", (0, 1))):
        write_tar(labelled / f"{split}.tar", labels)
    options = data_options(size="4", channels=1)
    bare, known = load_splits(str(folder), options), load_splits(str(labelled), options)

    both, alone = joined_splits([bare, known]), joined_splits([known, load_splits(str(folder / "test"), options)])

    assert both.test is not None
    assert (len(both.train), len(both.test), both.train.classes, both.test.classes) == (11 + 3, 3 + 2, (), ())
    assert both.train.name == both.test.name == f"{folder} + {labelled}"
    assert alone.test is not None
    assert (len(alone.train), len(alone.test), alone.test.classes) == (3 + 3, 2, ())
    assert set(alone.test.labels.tolist()) == {-1}


def test_what_was_loaded_and_what_was_not_is_told_in_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = load_splits(str(folder), Options(max_damaged=1))

    assert len(found.train) == 11
    assert capsys.readouterr().err == (
        f"{folder}: 11 images, 3 to test with, 8x6 colour, no labels; passed over damaged images: 1 "
        "(train/05.png is not a PNG, JPEG, WebP, BMP, GIF, TIFF or PPM image)\n"
    )
    assert found.account()["train"]["passed_over"][0]["count"] == 1
    assert found.account()["test"]["images"] == 3


def test_of_several_processes_one_tells(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")

    load_splits(str(folder / "test"), Options())

    assert capsys.readouterr().err == ""


def test_more_damage_than_is_allowed_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="1 of 12 images are damaged and at most 0 are skipped"):
        load_splits(str(folder), data_options(max_damaged=0))


def test_a_log_gets_a_line_now_and_then(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PLAIN_INTERVAL_S", 0)

    load_splits(str(folder / "test"), Options())

    assert capsys.readouterr().err.splitlines()[0] == f"decoding {folder / 'test'} train: 3 of 3 images"


def test_a_log_gets_one_line_of_what_is_quick(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load_splits(str(folder / "test"), Options())

    assert capsys.readouterr().err == f"{folder / 'test'}: 3 images, 8x6 colour, no labels\n"


def test_a_terminal_gets_a_bar(folder: Path) -> None:
    with Progress(console=Console(file=io.StringIO(), force_terminal=True)) as progress:
        load_split(str(folder), "test", Options(), progress=progress)

        [task] = progress.tasks
        assert (task.completed, task.total) == (3, 3)
        assert task.description == f"decoding {folder} test"


def test_pixels_that_need_no_decoding_get_no_bar() -> None:
    with Progress(console=Console(file=io.StringIO(), force_terminal=True)) as progress:
        load_split("digits", "test", Options(limit=3), progress=progress)

        assert progress.tasks == []


def test_there_are_no_bars_outside_a_terminal() -> None:
    with bars() as shown:
        assert shown.disable
