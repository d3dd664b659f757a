"""The Parzen-window log-likelihood against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.training.scores.points import uniform_points
from training.errors import ScoreError
from training.scores import distances
from training.scores.parzen import SIGMAS, centroids, hold_out, log_likelihoods, parzen_log_likelihood


def normal_log_density(x: NDArray[np.float64], mean: NDArray[np.float64], sigma: float) -> float:
    return float(-((x - mean) ** 2).sum() / (2 * sigma**2) - len(x) / 2 * math.log(2 * math.pi * sigma**2))


def test_the_sigmas_are_those_of_the_paper() -> None:
    assert (len(SIGMAS), SIGMAS[0], SIGMAS[-1]) == (10, 0.1, 1.0)
    assert np.diff(np.log(SIGMAS)) == pytest.approx(np.full(9, math.log(10) / 9))


def test_images_are_held_out_as_in_the_paper() -> None:
    images = np.arange(90, dtype=np.uint8).reshape(-1, 1, 1, 1)
    mnist = np.empty((60_000, 1, 1, 1), np.uint8)

    training, validation = hold_out(mnist)
    small_training, small_validation = hold_out(images)

    assert (len(training), len(validation)) == (50_000, 1_000)
    assert np.shares_memory(validation, mnist[50_000:51_000])
    np.testing.assert_array_equal(np.concatenate([small_training, small_validation]), images)


@pytest.mark.parametrize("sigma", [0.1, 0.7])
def test_of_one_sample_it_is_the_density_of_a_normal_distribution(sigma: float) -> None:
    sample, images = uniform_points(1, 1, 20), uniform_points(2, 5, 20)

    found = log_likelihoods(images, sample, [sigma])

    assert found[0] == pytest.approx([normal_log_density(image, sample[0], sigma) for image in images], rel=1e-12)


def test_of_several_samples_it_is_the_log_of_the_mean_density(monkeypatch: pytest.MonkeyPatch) -> None:
    samples, images = uniform_points(1, 7, 4), uniform_points(2, 9, 4)
    monkeypatch.setattr(distances, "BLOCK_CELLS", 20)  # several blocks

    found = log_likelihoods(images, samples, [0.2, 0.5])

    for row, sigma in enumerate((0.2, 0.5)):
        densities = [[math.exp(normal_log_density(image, s, sigma)) for s in samples] for image in images]
        assert found[row] == pytest.approx(np.log(np.mean(densities, axis=1)), rel=1e-10)


def test_samples_far_away_give_a_number_and_not_minus_infinity() -> None:
    images, samples = np.zeros((1, 784)), np.ones((3, 784))

    assert log_likelihoods(images, samples, [0.1])[0, 0] == pytest.approx(
        normal_log_density(images[0], samples[0], 0.1), rel=1e-12
    )


def test_sigma_is_the_best_on_the_validation_images_and_the_error_is_over_the_test_images() -> None:
    samples, validation, test = (uniform_points(key, count, 6) for key, count in ((1, 40), (2, 30), (3, 50)))

    score = parzen_log_likelihood(samples, validation, test)

    means = [log_likelihoods(validation, samples, [sigma])[0].mean() for sigma in SIGMAS]
    values = log_likelihoods(test, samples, [score.sigma])[0]
    assert score.sigma == SIGMAS[int(np.argmax(means))]
    assert score.mean == pytest.approx(values.mean(), rel=1e-12)
    assert score.standard_error == pytest.approx(math.sqrt(((values - values.mean()) ** 2).mean() / 50), rel=1e-12)
    assert (score.samples, score.validation_images, score.test_images, score.pixels) == (40, 30, 50, 6)


def test_bytes_count_as_pixels_from_0_to_1() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (30, 3, 3, 1), dtype=np.uint8)
    floats = pictures.reshape(30, 9) / 255

    score = parzen_log_likelihood(pictures[:10], pictures[10:20], pictures[20:])

    assert score == parzen_log_likelihood(floats[:10], floats[10:20], floats[20:])


def test_samples_like_the_data_score_higher_than_samples_unlike_it() -> None:
    data, noise = uniform_points(1, 100, 10) ** 4, uniform_points(2, 50, 10)

    like, unlike = (parzen_log_likelihood(samples, data[50:70], data[70:]) for samples in (data[:50], noise))

    assert like.mean > unlike.mean


def test_centres_of_the_training_images_beat_as_many_of_the_images_and_generate_nothing() -> None:
    data = (255 * (uniform_points(1, 12, 10)[np.arange(600) % 12] * 0.5 + uniform_points(2, 600, 10) / 2)).astype(
        np.uint8
    )
    training, validation, test = data[:400], data[400:500], data[500:]

    centres = centroids(training, 60)

    absurd, true = (parzen_log_likelihood(samples, validation, test) for samples in (centres, training[:60]))
    assert absurd.mean > true.mean
    assert (absurd.samples, true.samples) == (60, 60)
    assert 0 <= centres.min() <= centres.max() <= 1


def test_there_is_at_most_one_centre_to_five_images() -> None:
    assert centroids(np.zeros((52, 3, 3, 1), np.uint8), 10_000).shape == (10, 9)


def test_progress_is_told_for_validation_and_test_images() -> None:
    told: list[int] = []

    parzen_log_likelihood(uniform_points(1, 5), uniform_points(2, 6), uniform_points(3, 7), report=told.append)

    assert sum(told) == 13


def test_the_text_says_sigma_and_how_many() -> None:
    score = parzen_log_likelihood(
        np.zeros((4, 2)), np.zeros((3, 2)), np.zeros((2, 2)), sigmas=[1.0], reference="digits test"
    )

    assert str(score) == (
        "Parzen log-likelihood -1.8 +- 0.0 nats (4 samples, 2 test images of digits test, sigma 1.0000 chosen on 3 "
        "validation images, 2 pixels, not resized)"
    )


@pytest.mark.parametrize(
    ("samples", "sigmas", "message"),
    [
        (np.zeros((0, 3)), SIGMAS, r"expected samples \[N, ...\] with N >= 1"),
        (np.zeros((5, 4)), SIGMAS, "samples have 4 pixels, validation images 3"),
        (np.full((5, 3), np.nan), SIGMAS, "samples hold a pixel that is not finite"),
        (np.full((5, 3), 255.0), SIGMAS, r"pixels of samples lie in \[255, 255\]; expected uint8, or \[0, 1\]"),
        (np.zeros((5, 3)), (0.1, 0.0), "expected sigmas > 0"),
        (np.zeros((5, 3)), (), "expected sigmas > 0"),
    ],
)
def test_what_the_protocol_is_not_defined_for_is_refused(
    samples: NDArray[np.float64], sigmas: tuple[float, ...], message: str
) -> None:
    with pytest.raises(ScoreError, match=message):
        parzen_log_likelihood(samples, np.zeros((4, 3)), np.zeros((4, 3)), sigmas=sigmas)
