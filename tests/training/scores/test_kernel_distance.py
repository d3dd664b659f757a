"""The kernel distance by brute force, against another library, and its subsets."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.scores.points import reference_pair, uniform_points
from training.errors import ScoreError
from training.scores.conditions import Conditions
from training.scores.kernel_distance import kernel_distance, squared_discrepancy


def kernel(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float((one @ other / len(one) + 1) ** 3)


def by_pairs(real: NDArray[np.float64], generated: NDArray[np.float64]) -> float:
    """The unbiased estimate as it is written: means over pairs."""
    within = [np.mean([kernel(a, b) for a, b in itertools.permutations(points, 2)]) for points in (real, generated)]
    return float(sum(within) - 2 * np.mean([kernel(a, b) for a, b in itertools.product(real, generated)]))


def test_the_discrepancy_is_the_mean_over_pairs() -> None:
    real, generated = uniform_points(1, 5, 3), uniform_points(2, 7, 3) + 0.5

    assert squared_discrepancy(real, generated) == pytest.approx(by_pairs(real, generated), rel=1e-12)


def test_two_points_each_have_a_value_that_a_pencil_finds() -> None:
    real, generated = np.array([[0.0], [1.0]]), np.array([[2.0], [0.0]])

    # k(0, 1) = 1 and k(2, 0) = 1 within; 1, 1, 27 and 1 between.
    assert squared_discrepancy(real, generated) == pytest.approx(1 + 1 - 2 * 30 / 4)


def test_a_single_subset_of_everything_is_the_discrepancy_itself() -> None:
    real, generated = uniform_points(1, 12), uniform_points(2, 12) ** 2

    found = kernel_distance(real, generated, subsets=1, subset_size=12)

    assert found.mean == pytest.approx(squared_discrepancy(real, generated), rel=1e-9)
    assert found.std == 0


def test_the_value_is_that_of_torch_fidelity() -> None:
    """kid_features_to_metric of torch-fidelity 0.4.0 on the same points, 3 subsets of all 300."""
    found = kernel_distance(*reference_pair(), subsets=3, subset_size=300)

    assert found.mean == pytest.approx(0.04501816075885312, rel=1e-10)
    assert found.std == pytest.approx(0, abs=1e-12)


def test_mean_and_deviation_are_those_over_the_subsets() -> None:
    real, generated = reference_pair()
    found = [kernel_distance(real, generated, subsets=count, subset_size=50) for count in (1, 2)]

    first = found[0].mean
    second = 2 * found[1].mean - first  # the same seed draws the same first subset

    assert found[1].std == pytest.approx(abs(first - second) / 2, rel=1e-9)


def test_the_seed_chooses_the_subsets_for_ever() -> None:
    real, generated = reference_pair()

    found = {seed: kernel_distance(real, generated, subsets=2, subset_size=20, seed=seed) for seed in (0, 1)}

    assert found[0] == kernel_distance(real, generated, subsets=2, subset_size=20, seed=0)
    assert found[0].mean == pytest.approx(0.09210663439440658, rel=1e-10)
    assert found[1].mean != found[0].mean


def test_halves_of_one_set_are_near_zero_on_both_sides() -> None:
    values = [kernel_distance(*np.split(uniform_points(key, 400), 2), subsets=1, subset_size=200) for key in range(8)]

    means = [value.mean for value in values]
    assert min(means) < 0 < max(means)
    assert max(map(abs, means)) < 0.02


def test_the_text_says_all_that_the_value_depends_on() -> None:
    found = kernel_distance(
        *reference_pair(), subsets=2, subset_size=300, seed=7, conditions=Conditions(reference="digits test")
    )

    assert str(found) == (
        "kernel distance 0.045018 +- 0.000000 (300 generated and 300 real images, 2 subsets of 300, seed 7, "
        "reference digits test, resize none)"
    )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subset_size": 301}, "300 real images are too few; give at least 301"),
        ({"subset_size": 1}, "subset_size >= 2"),
        ({"subsets": 0}, "subsets >= 1"),
        ({"seed": -1}, "seed >= 0"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, int], message: str) -> None:
    real, generated = reference_pair()
    chosen = {"subsets": 2, "subset_size": 10, "seed": 0} | settings

    with pytest.raises(ScoreError, match=message):
        kernel_distance(
            real, generated, subsets=chosen["subsets"], subset_size=chosen["subset_size"], seed=chosen["seed"]
        )
