"""The cache: used, keyed by content, whole or not there, and rebuilt when it is damaged."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.files import encoded, pixels, tar
from training.data import cache, load
from training.data.image import Decoded, decoded
from training.data.report import PassedOver
from training.errors import DataError

IMAGES = pixels(8)


class Counter:
    """Counts how many images are decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        monkeypatch.setattr("training.data.decode.decoded", self._decoded)

    def _decoded(self, *args: object, **options: object) -> Decoded:
        self.count += 1
        return decoded(*args, **options)  # type: ignore[arg-type]


@pytest.fixture
def counter(monkeypatch: pytest.MonkeyPatch) -> Counter:
    return Counter(monkeypatch)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder of two classes with four images each."""
    for n, image in enumerate(IMAGES):
        path = tmp_path / "source" / ("cat", "dog")[n // 4] / f"{n}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(image))
    return tmp_path / "source"


def entries(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob("*/images.npy"))


def leftovers(folder: Path) -> list[Path]:
    return list(folder.rglob(f"{cache.TEMPORARY}*"))


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The disk takes no file larger than this."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_images_are_decoded_once_and_mapped_from_then_on(source: Path, counter: Counter, cache_folder: Path) -> None:
    first, again = load(source, "train"), load(source, "train")

    assert counter.count == 8
    assert np.array_equal(first.images, IMAGES)
    assert first.sha256() == again.sha256()
    assert first.classes == again.classes == ("cat", "dog")
    assert not again.images.flags.writeable
    assert isinstance(again.images.base, np.memmap)
    assert leftovers(cache_folder) == []


def test_a_source_that_is_unchanged_is_not_read_again(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load(source, "train")
    monkeypatch.setattr("hashlib.file_digest", None)

    assert len(load(source, "train")) == 8


def test_a_source_that_moved_is_known_by_its_content(source: Path, counter: Counter, cache_folder: Path) -> None:
    load(source, "train")
    moved = load(source.rename(source.with_name("moved")), "train")

    assert counter.count == 8
    assert moved.name.endswith("moved")
    assert len(entries(cache_folder)) == 1


@pytest.mark.parametrize("new", [IMAGES[0] ^ 1, IMAGES[0][::-1]])
def test_a_changed_file_makes_another_entry(source: Path, cache_folder: Path, new: np.ndarray) -> None:
    load(source, "train")
    times = (source / "cat" / "0.png").stat()
    (source / "cat" / "0.png").write_bytes(encoded(new))
    os.utime(source / "cat" / "0.png", ns=(times.st_atime_ns, times.st_mtime_ns))

    assert np.array_equal(load(source, "train").images[0], new)
    assert len(entries(cache_folder)) == 2


def test_a_renamed_class_makes_another_entry(source: Path) -> None:
    load(source, "train")
    (source / "cat").rename(source / "zebra")

    data = load(source, "train")

    assert data.classes == ("dog", "zebra")
    assert np.array_equal(data.images, np.concatenate([IMAGES[4:], IMAGES[:4]]))


def test_options_have_entries_of_their_own(source: Path, cache_folder: Path) -> None:
    shapes = [load(source, "train", size=size).shape for size in (None, (2, 2), (3, 2), None)]

    assert shapes == [(4, 5, 1), (2, 2, 1), (3, 2, 1), (4, 5, 1)]
    assert len(entries(cache_folder)) == 3


def test_colour_that_comes_late_leaves_nothing_of_the_first_try(source: Path) -> None:
    colour = pixels(1, channels=3)[0]
    (source / "dog" / "9.png").write_bytes(encoded(colour))

    data = load(source, "train")

    assert np.array_equal(data.images[:8], IMAGES.repeat(3, axis=3))
    assert np.array_equal(data.images[8], colour)


def test_what_was_skipped_is_remembered(source: Path, counter: Counter) -> None:
    (source / "dog" / "9.png").write_bytes(b"no image")

    first, again = (load(source, "train", max_damaged=1) for _ in range(2))

    assert first.damaged == again.damaged == ("dog/9.png is not a PNG, JPEG, WebP, BMP, GIF, TIFF or PPM image",)
    assert counter.count == 9
    assert first.passed_over == again.passed_over == (PassedOver("damaged images", 1, first.damaged),)


def test_what_was_passed_over_in_a_tar_is_remembered(tmp_path: Path) -> None:
    path = tar(tmp_path / "a.tar", {"1.png": encoded(pixels(1)[0]), "1.txt": b"a coin"})

    first, again = (load(path, "train") for _ in range(2))

    assert first.passed_over == again.passed_over
    assert first.passed_over[0].first == ("1.txt",)


def test_switched_off_it_writes_nothing(source: Path, counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(cache.FOLDER_VARIABLE, "off")
    monkeypatch.setenv("HOME", str(source / "nowhere"))

    assert np.array_equal(load(source, "train").images, load(source, "train").images)
    assert counter.count == 16
    assert not (source / "nowhere").exists()


def test_without_a_setting_it_lives_in_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(cache.FOLDER_VARIABLE)
    monkeypatch.setenv("HOME", "/home/minter")

    assert cache.cache_folder() == Path("/home/minter/.cache/mintage")


def test_digits_need_no_cache(cache_folder: Path) -> None:
    load("digits", "test")

    assert not cache_folder.exists()


def damage_pixels(entry: Path) -> None:
    content = bytearray((entry / "images.npy").read_bytes())
    content[-1] ^= 1
    (entry / "images.npy").write_bytes(content)


def cut(name: str, size: int) -> object:
    return lambda entry: os.truncate(entry / name, size)


@pytest.mark.parametrize(
    "damage",
    [
        damage_pixels,
        cut("images.npy", 0),
        cut("images.npy", 100),
        cut("images.npy", 200),
        cut("labels.npy", 130),
        cut("about.json", 0),
        cut("about.json", 20),
        lambda entry: (entry / "about.json").unlink(),
        lambda entry: (entry / "labels.npy").unlink(),
        lambda entry: (entry / "about.json").write_text("[]"),
        lambda entry: (entry / "about.json").write_text('{"damaged": 3}'),
        lambda entry: np.save(entry / "images.npy", np.zeros((8, 4, 5, 1), np.float32)),
        lambda entry: np.save(entry / "labels.npy", np.zeros(8, np.int64)),
        lambda entry: np.save(entry / "images.npy", np.array([{}], object)),
    ],
)
def test_a_damaged_entry_is_found_and_rebuilt(
    source: Path, counter: Counter, cache_folder: Path, damage: object
) -> None:
    before = load(source, "train").sha256()
    assert callable(damage)
    damage(entries(cache_folder)[0])

    assert load(source, "train").sha256() == before
    assert load(source, "train").sha256() == before
    assert counter.count == 16
    assert leftovers(cache_folder) == []


def test_an_entry_that_was_copied_elsewhere_is_still_good(source: Path, counter: Counter, cache_folder: Path) -> None:
    load(source, "train")
    for path in entries(cache_folder)[0].iterdir():
        os.utime(path, (1, 1))

    assert len(load(source, "train")) == 8
    assert counter.count == 8


@pytest.mark.parametrize("content", ["", "[]", '{"looks": 3}', '{"looks": "x", "key": "../../etc"}'])
def test_a_damaged_note_of_a_known_source_is_ignored(
    source: Path, counter: Counter, cache_folder: Path, content: str
) -> None:
    load(source, "train")
    for note in (cache_folder / "known").iterdir():
        note.write_text(content)

    assert len(load(source, "train")) == 8
    assert counter.count == 8


def test_many_writers_at_once_agree(source: Path, cache_folder: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda _: load(source, "train").sha256(), range(6)))

    assert len(set(found)) == 1
    assert len(entries(cache_folder)) == 1
    assert leftovers(cache_folder) == []


@pytest.mark.parametrize("size", [10, 100, 1000])
def test_a_full_disk_is_told_and_leaves_no_half_file(source: Path, cache_folder: Path, size: int) -> None:
    load(source, "train", limit=1)
    with largest_file(size), pytest.raises(DataError, match=r"the cache .* has no room left .* set MINTAGE_CACHE_DIR"):
        load(source, "train", size=(64, 64))

    assert len(entries(cache_folder)) == 1
    assert leftovers(cache_folder) == []
    assert load(source, "train", size=(64, 64)).shape == (64, 64, 1)


def test_a_cache_that_cannot_be_written_is_told(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv(cache.FOLDER_VARIABLE, str(tmp_path / "file" / "cache"))

    with pytest.raises(DataError, match=r"the cache .* cannot be used .* or to off"):
        load(source, "train")


def test_a_source_that_changes_while_it_is_read_is_an_error(source: Path, cache_folder: Path) -> None:
    def change(done: int, _: int | None) -> None:
        (source / "cat" / "0.png").write_bytes(encoded(IMAGES[7]))

    with pytest.raises(DataError, match="changed while it was read; load it again"):
        load(source, "train", on_progress=change)

    assert entries(cache_folder) == leftovers(cache_folder) == []


def test_what_was_interrupted_leaves_nothing(source: Path, cache_folder: Path) -> None:
    def interrupt(done: int, _: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load(source, "train", on_progress=interrupt)

    assert entries(cache_folder) == leftovers(cache_folder) == []


def test_what_a_killed_process_left_is_swept_away_a_day_later(source: Path, cache_folder: Path) -> None:
    old, young = cache_folder / ".new-old", cache_folder / ".new-young"
    for folder in (old, young):
        (folder / "images.npy").mkdir(parents=True)
    os.utime(old, (time.time() - 100_000,) * 2)

    load(source, "train")

    assert leftovers(cache_folder) == [young]


def test_pixels_that_would_fill_the_disk_are_an_error(
    source: Path, cache_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.store.MAX_FILE_BYTES", 200)

    with pytest.raises(DataError, match="more than 200 bytes when decoded"):
        load(source, "train")
    assert entries(cache_folder) == leftovers(cache_folder) == []
