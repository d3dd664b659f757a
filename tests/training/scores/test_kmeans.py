"""The centres of k-means, where it is plain which they are."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.scores.points import uniform_points
from training.errors import ScoreError
from training.scores import distances, kmeans
from training.scores.kmeans import kmeans_centres, nearest_centres


def test_one_centre_is_the_mean_of_all_points(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kmeans, "BATCH", 7)  # several batches
    points = uniform_points(1, 100)

    centres = kmeans_centres(points, 1)

    np.testing.assert_allclose(centres[0], points.mean(axis=0), rtol=1e-5)


def test_centres_find_the_clouds_that_points_lie_in() -> None:
    corners = np.array([[0, 0], [0, 100], [100, 0]])
    points = np.repeat(corners, 200, axis=0) + uniform_points(1, 600, 2)

    centres = kmeans_centres(points, 30, epochs=5)

    clouds = np.unique(np.rint(centres / 100), axis=0)
    assert np.array_equal(np.sort(clouds, axis=0), np.sort(corners / 100, axis=0))
    assert ((centres % 100) < 1).all()


def test_as_many_centres_as_points_are_the_points() -> None:
    points = uniform_points(1, 20).astype(np.float32)

    centres = kmeans_centres(points, 20)

    np.testing.assert_array_equal(np.sort(centres, axis=0), np.sort(points, axis=0))


def test_centres_lie_nearer_to_the_points_than_a_choice_of_points_does() -> None:
    points = uniform_points(1, 1000, 4).astype(np.float32)

    def loss(centres: np.ndarray) -> float:
        return float(((points - centres[nearest_centres(points, centres)]) ** 2).sum())

    assert loss(kmeans_centres(points, 20, epochs=3)) < 0.8 * loss(points[:20])


def test_the_seed_decides() -> None:
    points = uniform_points(1, 200)

    one, again, other = (kmeans_centres(points, 5, seed=seed) for seed in (1, 1, 2))

    assert one.tobytes() == again.tobytes()
    assert one.tobytes() != other.tobytes()


def test_nearest_centres_are_found_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    points, centres = (uniform_points(key, count, 3).astype(np.float32) for key, count in ((1, 50), (2, 7)))
    monkeypatch.setattr(distances, "BLOCK_CELLS", 20)

    expected = ((points[:, None] - centres) ** 2).sum(axis=2).argmin(axis=1)

    assert np.array_equal(nearest_centres(points, centres), expected)


def test_progress_is_told_in_points_of_every_passage() -> None:
    told: list[int] = []

    kmeans_centres(uniform_points(1, 30), 3, epochs=2, report=told.append)

    assert sum(told) == 60


@pytest.mark.parametrize(("points", "count"), [(5, 6), (5, 0), (0, 0)])
def test_more_centres_than_points_or_none_are_refused(points: int, count: int) -> None:
    with pytest.raises(ScoreError, match=f"{points} points cannot have {count} centres"):
        kmeans_centres(np.zeros((points, 2)), count)
