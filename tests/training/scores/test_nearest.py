"""The nearest training images, and their sheet."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.errors import ScoreError
from training.runs.grids import grid
from training.scores import distances, nearest
from training.scores.nearest import Nearness, nearest_images, nearest_sheet, nearness

Pixels = NDArray[np.uint8]


def pictures(count: int, *, seed: int = 0, channels: int = 1) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (count, 4, 3, channels), dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_nearest_image_is_the_one_that_trying_all_finds(channels: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "MAX_BLOCK", 7)
    monkeypatch.setattr(distances, "BLOCK_CELLS", 20)
    queries, images = pictures(11, channels=channels), pictures(50, seed=1, channels=channels)

    found = nearest_images(queries, images)

    tried = ((queries[:, None].astype(int) - images) ** 2).sum(axis=(2, 3, 4))
    np.testing.assert_array_equal(found.indices, tried.argmin(axis=1))
    np.testing.assert_array_equal(found.distances, tried.min(axis=1))


def test_a_training_image_is_its_own_nearest_at_distance_zero() -> None:
    images = pictures(20)

    found = nearest_images(images[[7, 3]], images)

    assert found.indices.tolist() == [7, 3]
    assert found.distances.tolist() == [0, 0]


def test_of_images_at_the_same_distance_the_first_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "MAX_BLOCK", 2)
    images = np.repeat(pictures(1), 6, axis=0)

    assert nearest_images(pictures(1, seed=5), images).indices.tolist() == [0]


def test_images_from_training_are_near_and_others_as_far_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "COMPARED", 9)
    images = pictures(20) // 2

    assert nearness(images[::2], images) == Nearness(9, 0, 0)
    assert nearness(images[:1] + 100, images[:1]) == Nearness(1, 100, 100)


def test_the_sheet_ends_each_row_with_the_image_nearest_to_its_last_sample() -> None:
    images = pictures(30, seed=1)
    samples = pictures(6)
    samples[2], samples[5] = images[17], images[4]

    sheet = nearest_sheet(samples, images, rows=2, columns=3, scale=1)

    expected = grid(np.stack([*samples[:3], images[17], *samples[3:], images[4]]), 4, scale=1)
    assert sheet.tobytes() == expected.tobytes()
    assert sheet.size == expected.size


def test_the_sheet_of_the_paper_has_four_rows_of_five_samples() -> None:
    sheet = nearest_sheet(pictures(25), pictures(30, seed=1), scale=1)

    assert sheet.size == (6 * (3 + 2) + 2, 4 * (4 + 2) + 2)


@pytest.mark.parametrize(
    ("samples", "images", "message"),
    [
        (pictures(19), pictures(5), "19 samples do not fill a sheet of 4 rows of 5"),
        (pictures(20), pictures(5, channels=3), r"samples are \[4, 3, 1\], but training images \[4, 3, 3\]"),
        (pictures(20), pictures(0), r"expected training images uint8 \[N, H, W, C\] with N >= 1"),
        (pictures(20).astype(np.float32), pictures(5), "expected samples uint8 .* got float32"),
    ],
)
def test_images_that_fill_no_sheet_are_refused(samples: Pixels, images: Pixels, message: str) -> None:
    with pytest.raises(ScoreError, match=message):
        nearest_sheet(samples, images)
