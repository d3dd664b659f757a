"""Precision, recall, density and coverage by brute force, and where a person can see them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.scores.points import reference_pair, uniform_points
from training.errors import ScoreError
from training.scores import distances
from training.scores.precision_recall import PrecisionRecall, precision_recall


def radius(points: NDArray[np.float64], number: int, neighbours: int) -> float:
    others = np.delete(points, number, axis=0)
    return float(np.sort(np.linalg.norm(others - points[number], axis=1))[neighbours - 1])


def by_pairs(real: NDArray[np.float64], generated: NDArray[np.float64], k: int) -> tuple[float, float, float, float]:
    """The four definitions as they are written, image by image."""
    inside_real = [[np.linalg.norm(y - x) <= radius(real, n, k) for n, x in enumerate(real)] for y in generated]
    inside_generated = [
        [np.linalg.norm(x - y) <= radius(generated, n, k) for n, y in enumerate(generated)] for x in real
    ]
    return (
        float(np.mean([any(row) for row in inside_real])),
        float(np.mean([any(row) for row in inside_generated])),
        float(np.sum(inside_real) / (k * len(generated))),
        float(np.mean([any(column) for column in zip(*inside_real, strict=True)])),
    )


def values(found: PrecisionRecall) -> tuple[float, float, float, float]:
    return found.precision, found.recall, found.density, found.coverage


@pytest.mark.parametrize("neighbours", [1, 3, 5])
def test_the_four_values_are_those_of_their_definitions(neighbours: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, generated = uniform_points(1, 30, 3), uniform_points(2, 25, 3) * 0.7 + 0.3
    monkeypatch.setattr(distances, "BLOCK_CELLS", 100)  # many blocks, the last one short

    found = precision_recall(real, generated, neighbours=neighbours)

    assert values(found) == pytest.approx(by_pairs(real, generated, neighbours), rel=1e-12)


def test_precision_and_recall_are_those_of_torch_fidelity() -> None:
    """prc_features_to_metric of torch-fidelity 0.4.0 on the same points, prc_neighborhood 3."""
    found = precision_recall(*reference_pair(), neighbours=3)

    assert (found.precision, found.recall) == pytest.approx((0.81, 0.67), abs=1e-7)


def test_a_copy_of_the_real_set_is_precise_and_covers_it() -> None:
    points = uniform_points(1, 50)

    found = precision_recall(points, points.copy(), neighbours=5)

    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)
    assert found.density == pytest.approx(6 / 5)  # each point lies in its own ball and, in the mean, in k others


def test_repeated_points_whose_balls_have_no_extent_still_contain_each_other() -> None:
    points = np.repeat(uniform_points(1, 10), 5, axis=0) + 100

    found = precision_recall(points, points.copy(), neighbours=2)

    assert (found.precision, found.recall, found.coverage) == (1, 1, 1)


def test_samples_of_one_mode_are_precise_but_recall_little() -> None:
    modes = np.concatenate([uniform_points(1, 50), uniform_points(2, 50) + 10])

    found = precision_recall(modes, uniform_points(3, 100), neighbours=5)

    assert found.precision > 0.9
    assert found.recall <= 0.5
    assert found.coverage <= 0.5


def test_samples_far_away_are_neither() -> None:
    assert values(precision_recall(uniform_points(1, 50), uniform_points(2, 50) + 10)) == (0, 0, 0, 0)


def test_the_text_says_k_and_how_many() -> None:
    text = str(precision_recall(*reference_pair(), neighbours=3))

    assert text.startswith("precision 0.8100, recall 0.6700, density 0.")
    assert "(k = 3, 300 generated and 300 real images, resize none)" in text


def test_too_few_images_or_neighbours_are_refused() -> None:
    with pytest.raises(ScoreError, match="5 generated images are too few; give at least 6"):
        precision_recall(uniform_points(1, 20), uniform_points(2, 5), neighbours=5)
    with pytest.raises(ScoreError, match="neighbours >= 1"):
        precision_recall(*reference_pair(), neighbours=0)
