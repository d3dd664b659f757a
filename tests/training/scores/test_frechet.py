"""The Frechet distance against closed forms, another library, and its moments over shards."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.scores.points import reference_pair, uniform_points
from training.errors import ScoreError
from training.scores.conditions import Conditions
from training.scores.frechet import Moments, frechet_distance, joined


def with_moments(mean: NDArray[np.float64], covariance: NDArray[np.float64], count: int = 50) -> Moments:
    """Return moments whose mean and unbiased covariance are exactly these."""
    products = covariance * (count - 1) + count * np.outer(mean, mean)
    return Moments(count, mean * count, products)


def rotation(size: int) -> NDArray[np.float64]:
    rotated: NDArray[np.float64] = np.linalg.qr(uniform_points(4, size, size) - 0.5)[0]
    return rotated


def test_moments_are_mean_and_unbiased_covariance() -> None:
    points = uniform_points(1, 40)

    moments = Moments.of(points)

    np.testing.assert_allclose(moments.mean, points.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(moments.covariance(), np.cov(points, rowvar=False, ddof=1), rtol=1e-10, atol=1e-14)


def test_with_equal_covariances_the_distance_is_that_of_the_means_squared() -> None:
    covariance = rotation(5) * [0.1, 0.5, 1, 2, 4] @ rotation(5).T
    means = uniform_points(2, 2, 5)

    distance = frechet_distance(with_moments(means[0], covariance), with_moments(means[1], covariance))

    assert distance.value == pytest.approx(((means[0] - means[1]) ** 2).sum(), rel=1e-10)


def test_with_covariances_of_common_axes_the_deviations_are_subtracted() -> None:
    variances, others, axes = np.array([1.0, 4.0, 9.0]), np.array([4.0, 0.25, 9.0]), rotation(3)
    mean = np.array([0.5, 0.0, -1.0])

    distance = frechet_distance(
        with_moments(mean, axes * variances @ axes.T), with_moments(mean, axes * others @ axes.T)
    )

    assert distance.value == pytest.approx(((np.sqrt(variances) - np.sqrt(others)) ** 2).sum(), rel=1e-10)  # 3.25


def test_a_direction_without_variance_is_no_trouble() -> None:
    variances, others = np.diag([1.0, 0.0, 0.0]), np.diag([4.0, 1.0, 0.0])

    distance = frechet_distance(with_moments(np.zeros(3), variances), with_moments(np.zeros(3), others))

    assert distance.value == pytest.approx(2.0, rel=1e-10)


def test_a_set_is_at_distance_zero_from_itself() -> None:
    moments = Moments.of(uniform_points(1, 40))

    assert 0 <= frechet_distance(moments, moments).value < 1e-12


def test_the_value_is_that_of_torch_fidelity() -> None:
    """fid_statistics_to_metric(fid_features_to_statistics(...), ...) of torch-fidelity 0.4.0 on the same points."""
    real, generated = reference_pair()

    distance = frechet_distance(Moments.of(real), Moments.of(generated))

    assert distance.value == pytest.approx(0.06415341068128733, rel=1e-11)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_shards_give_the_same_bits_in_whatever_order_they_finish(order: tuple[int, ...]) -> None:
    shards = np.split(uniform_points(1, 90), [20, 70])
    expected = joined({number: Moments.of(shard) for number, shard in enumerate(shards)})

    moments = joined({number: Moments.of(shards[number]) for number in order})

    assert moments.count == 90
    assert moments.total.tobytes() == expected.total.tobytes()
    assert moments.products.tobytes() == expected.products.tobytes()


def test_shards_give_the_value_of_all_at_once() -> None:
    real, generated = reference_pair()
    shards = {number: Moments.of(shard) for number, shard in enumerate(np.split(generated, 10))}

    distance = frechet_distance(Moments.of(real), joined(shards))

    assert distance.value == pytest.approx(frechet_distance(Moments.of(real), Moments.of(generated)).value, rel=1e-10)


def test_the_text_says_all_that_the_value_depends_on() -> None:
    real, generated = (Moments.of(points) for points in reference_pair())
    conditions = Conditions(extractor="0123456789abcdef" * 4, reference="digits test")

    text = str(frechet_distance(real, generated, conditions=conditions))

    assert text == (
        "Frechet distance 0.0642 (300 generated and 300 real images, 8 features, unbiased covariance, "
        "reference digits test, extractor 0123456789ab, resize none)"
    )


def test_as_many_images_as_features_are_too_few() -> None:
    enough, few = Moments.of(uniform_points(1, 9)), Moments.of(uniform_points(1, 8))

    frechet_distance(enough, enough)
    with pytest.raises(ScoreError, match=r"8 images are too few for 8 features: .* give at least 9"):
        frechet_distance(enough, few)


def test_moments_that_do_not_belong_together_are_refused() -> None:
    one, other = Moments.of(uniform_points(1, 20, 3)), Moments.of(uniform_points(1, 20, 4))

    with pytest.raises(ScoreError, match="real images have 3 features, but generated ones 4"):
        frechet_distance(one, other)
    with pytest.raises(ScoreError, match="of 3 and of 4 features cannot be joined"):
        joined({0: one, 1: other})
    with pytest.raises(ScoreError, match="no moments"):
        joined({})


def test_features_that_are_not_finite_are_refused() -> None:
    with pytest.raises(ScoreError, match="image 1 of the images are not finite"):
        Moments.of(np.array([[1.0], [np.nan]]))
