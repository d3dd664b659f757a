"""All images of a split: in order, with damage named and counted."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.training.data.files import encoded, image_files, pixels, saved
from training.data.decode import FRAMES, decode_into
from training.data.options import Options
from training.data.report import PassedOver
from training.data.splits import ImageFiles
from training.data.store import DecodedImages, MemoryStore
from training.errors import DataError


def decoded(files: ImageFiles, **options: object) -> DecodedImages:
    store = MemoryStore()
    return store.decoded(decode_into(store, files, Options(**options)))  # type: ignore[arg-type]


def good(count: int, *, channels: int = 1) -> list[bytes]:
    return [encoded(image) for image in pixels(count, channels=channels)]


def test_images_and_labels_keep_their_order_whatever_the_threads_do() -> None:
    found = decoded(image_files(good(200), labels=list(range(200))))

    assert np.array_equal(found.images, pixels(200))
    assert found.labels.tolist() == list(range(200))


def test_progress_is_told_to_the_end() -> None:
    told: list[tuple[int, int | None]] = []

    decode_into(MemoryStore(), image_files(good(65)), Options(), lambda done, total: told.append((done, total)))

    assert told == [(32, 65), (64, 65), (65, 65)]


def test_one_coloured_image_late_makes_all_of_them_coloured() -> None:
    found = decoded(image_files([*good(40), *good(1, channels=3), *good(1)]))

    assert found.images.shape == (42, 4, 5, 3)
    assert np.array_equal(found.images[:40], pixels(40).repeat(3, axis=3))
    assert np.array_equal(found.images[40], pixels(1, channels=3)[0])


def test_grey_that_was_asked_for_stays_grey() -> None:
    assert decoded(image_files([*good(1), *good(1, channels=3)]), channels=1).images.shape == (2, 4, 5, 1)


def test_a_few_damaged_images_are_named_and_skipped() -> None:
    found = decoded(image_files([b"", *good(98), b"no image"], labels=list(range(100))))

    assert found.findings.damaged == ("0.png is empty", "99.png is not a PNG, JPEG, WebP, BMP, GIF, TIFF or PPM image")
    assert found.labels.tolist() == list(range(1, 99))


@pytest.mark.parametrize(
    ("count", "damaged", "options"),
    [(9, 1, {}), (100, 6, {}), (100, 1, {"max_damaged": 0}), (20, 3, {"max_damaged": 2})],
)
def test_more_damaged_images_are_an_error_with_the_first_names(
    count: int, damaged: int, options: dict[str, int]
) -> None:
    files = image_files([*good(count - damaged), *[b""] * damaged])

    with pytest.raises(DataError, match=f"{damaged} of {count} images are damaged .*{count - damaged}.png is empty"):
        decoded(files, **options)


def test_every_thousandth_image_may_be_damaged() -> None:
    assert [Options().allowed_damage(count) for count in (9, 10, 40, 50, 5000, 60_000, 10**9)] == [
        0,
        1,
        4,
        5,
        5,
        60,
        10_000,
    ]


def test_a_flood_of_damaged_images_is_refused_before_all_were_seen() -> None:
    seen = 0

    def count(done: int, _: int | None) -> None:
        nonlocal seen
        seen = done

    with pytest.raises(DataError, match=r"10001 of 100[0-9]+ images are damaged"):
        decode_into(MemoryStore(), image_files([b""] * 20_000), Options(), count)
    assert seen < 10_100


def test_nothing_but_damaged_images_is_an_error_whatever_is_allowed() -> None:
    with pytest.raises(DataError, match=r"every image is damaged \(0.png is empty; 1.png is empty\)"):
        decoded(image_files([b"", b""]), max_damaged=10)


def test_no_image_is_an_error() -> None:
    with pytest.raises(DataError, match="made holds no image"):
        decoded(image_files([]))


def test_two_sizes_are_an_error_that_says_which_option_helps() -> None:
    files = image_files([*good(1), encoded(pixels(1, height=9)[0])])

    with pytest.raises(DataError, match=r"1\.png is 5x9, not 5x4 like 0\.png; resize .* or ask for one with --size"):
        decoded(files)
    assert decoded(files, size=(3, 3)).images.shape == (2, 3, 3, 1)


def test_labels_that_are_text_are_classes_by_name() -> None:
    found = decoded(image_files(good(4), labels=["emu", "cat", "emu", "dog"]))

    assert found.findings.classes == ("cat", "dog", "emu")
    assert found.labels.tolist() == [2, 0, 2, 1]


def test_text_and_numbers_together_are_refused() -> None:
    with pytest.raises(DataError, match=r"1\.png has the label 3, but some labels are text and others numbers"):
        decoded(image_files(good(2), labels=["cat", 3]))


def test_frames_after_the_first_are_told() -> None:
    frames = [Image.fromarray(image[..., 0]) for image in pixels(3)]
    moving = [
        saved(frames[0], kind, save_all=True, append_images=frames[1:]) for kind in ("PNG", "WEBP", "GIF", "TIFF")
    ]

    found = decoded(image_files([*good(1), *moving]))

    assert len(found.images) == 5
    assert found.findings.passed_over == (PassedOver(FRAMES, 4, ("1.png", "2.png", "3.png")),)


@pytest.mark.parametrize("label", [-2, 100_000, 2**70])
def test_a_label_that_no_class_can_have_is_named(label: int) -> None:
    with pytest.raises(DataError, match=rf"0\.png has the label {label}, not 0 to 99999"):
        decoded(image_files(good(1), labels=[label]))


def test_more_than_fits_into_memory_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.data.store.MAX_MEMORY_BYTES", 1000)

    with pytest.raises(DataError, match="more than 1000 bytes when decoded; take fewer with --limit"):
        decoded(image_files(good(100)))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": (0, 4)}, "--size 0x4 must be"),
        ({"size": (4,)}, "--size 4 must be"),
        ({"size": (9999, 4)}, "each from 1 to 4096"),
        ({"channels": 2}, "--channels 2 must be 1"),
        ({"limit": 0}, "--limit 0 must be at least 1"),
        ({"max_damaged": -1}, "--max-damaged -1 must lie"),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Options(**options)  # type: ignore[arg-type]
