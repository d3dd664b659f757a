"""Distances, their blocks, and the checks of tables of features."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.scores.points import uniform_points
from training.errors import ScoreError
from training.scores import distances
from training.scores.distances import blocks, checked_pair, squared_distances


def test_squared_distances_are_what_subtraction_gives() -> None:
    one, other = uniform_points(1, 20), uniform_points(2, 30)

    direct = ((one[:, None] - other) ** 2).sum(axis=2)

    np.testing.assert_allclose(squared_distances(one, other), direct, rtol=1e-12)


def test_equal_points_far_from_the_origin_are_at_distance_zero() -> None:
    points = uniform_points(3, 40) + 1e4

    assert (np.diag(squared_distances(points, points.copy())) == 0).all()


def test_distances_of_whole_numbers_are_exact() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 784)).astype(np.float64)

    np.testing.assert_array_equal(
        squared_distances(pixels, pixels[::-1]), ((pixels[:, None] - pixels[::-1]) ** 2).sum(2)
    )


@pytest.mark.parametrize(("count", "width"), [(1, 1), (10, 3), (7, 100), (5, 2**30)])
def test_blocks_cover_every_row_once_and_stay_small(count: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distances, "BLOCK_CELLS", 12)

    found = list(blocks(count, width))

    assert [row for block in found for row in range(block.start, block.stop)] == list(range(count))
    assert all((block.stop - block.start) * width <= max(12, width) for block in found)


@pytest.mark.parametrize(
    ("real", "generated", "message"),
    [
        (np.zeros((5, 2)), np.zeros(5), r"of generated images with N and F >= 1, got \[5\]"),
        (np.zeros((5, 0)), np.zeros((5, 2)), r"of real images with N and F >= 1, got \[5, 0\]"),
        (np.zeros((5, 2)), np.zeros((5, 3)), "real images have 2 features, but generated ones 3"),
        (np.zeros((5, 2)), np.zeros((3, 2)), "3 generated images are too few; give at least 4"),
        (np.array([[0.0], [np.nan], [np.inf], [0.0]]), np.zeros((5, 1)), "image 1 of real images are not finite"),
    ],
)
def test_tables_that_cannot_be_compared_are_refused(
    real: NDArray[np.float64], generated: NDArray[np.float64], message: str
) -> None:
    with pytest.raises(ScoreError, match=message):
        checked_pair(real, generated, at_least=4)
