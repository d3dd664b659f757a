"""A direction fitted to answers is the one that made them, and its accuracy is that of latents it has not seen."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from service.models.directions.finding import guess_note
from service.models.directions.fit import auroc, linear_fit, logits, ridge

Floats = NDArray[np.float64]


def planted(samples: int, size: int = 20, noise: float = 0.0, seed: int = 0) -> tuple[Floats, Floats, Floats]:
    random = np.random.default_rng(seed)
    latents = random.uniform(-1, 1, (samples, size))
    direction = random.normal(size=size)
    return latents, latents @ direction + noise * random.normal(size=samples) + 3.0, direction


def test_the_planted_direction_is_found_and_has_the_length_of_a_standard_deviation() -> None:
    latents, answers, direction = planted(300)
    found = linear_fit(latents, answers, held_out=60)
    assert found is not None
    assert found.values / np.linalg.norm(found.values) == pytest.approx(direction / np.linalg.norm(direction), abs=1e-4)
    assert np.linalg.norm(found.values) == pytest.approx(latents[:-60].std())
    assert found.accuracy is not None and found.accuracy > 0.9
    assert (found.auroc, found.held_out) == (1.0, 60)


def test_more_numbers_than_latents_still_give_a_direction_and_an_honest_accuracy() -> None:
    latents, _, _ = planted(77, size=100)
    found = linear_fit(latents, np.random.default_rng(1).normal(size=77), held_out=13)  # answers without any reason
    assert found is not None and found.accuracy is not None
    assert np.isfinite(found.values).all()
    assert 0.05 < found.accuracy < 0.95  # fitted to noise, it guesses


def test_a_noisy_direction_is_found_nearly() -> None:
    latents, answers, direction = planted(1200, size=50, noise=3.0)
    found = linear_fit(latents, answers, held_out=200)
    assert found is not None and found.auroc is not None
    assert found.values @ direction / np.linalg.norm(found.values) / np.linalg.norm(direction) > 0.9
    assert found.accuracy is not None and 0.7 < found.accuracy < 1.0 < found.auroc + 0.3


def test_a_rare_property_is_measured_fairly() -> None:
    latents, answers, _ = planted(1200, noise=1.0)
    rare = float(np.quantile(answers, 0.9))
    found = linear_fit(latents, answers, held_out=200, boundary=rare)
    assert found is not None and found.accuracy is not None
    assert found.accuracy > 0.7 and found.above == int((answers[-200:] > rare).sum())
    guess = linear_fit(latents, np.random.default_rng(2).permutation(answers), held_out=200, boundary=rare)
    assert guess is not None and guess.accuracy is not None
    assert abs(guess.accuracy - 0.5) < 0.15  # and not 0.9, as if all were said to lack it


def test_a_boundary_that_all_lie_on_one_side_of_gives_way_to_the_median() -> None:
    latents, answers, _ = planted(300)
    found = linear_fit(latents, answers, held_out=60, boundary=float(answers.max()))
    median = linear_fit(latents, answers, held_out=60)
    assert found is not None and median is not None
    assert (found.accuracy, found.auroc, found.above) == (median.accuracy, 1.0, median.above)


def test_equal_answers_have_no_direction() -> None:
    assert linear_fit(planted(100)[0], np.full(100, 0.25), held_out=20) is None


def test_the_penalty_is_that_of_the_smallest_error_of_points_left_out() -> None:
    points, targets, _ = planted(40, size=6, noise=0.5)
    points, targets = points - points.mean(axis=0), targets - targets.mean()
    exact = np.linalg.lstsq(points, targets, rcond=None)[0]
    found = ridge(points, targets)
    assert found == pytest.approx(exact, rel=0.2)
    assert np.linalg.norm(found) <= np.linalg.norm(exact)


def test_logits_are_finite_and_ranks_count_ties_by_half() -> None:
    assert logits(np.array([0, 0.5, 1], np.float32)) == pytest.approx([-4.595, 0, 4.595], abs=1e-3)
    assert auroc(np.array([1.0, 2.0]), np.array([1.0, 0.0])) == 7 / 8
    assert auroc(np.array([]), np.array([1.0])) is None


def test_a_class_that_decides_most_of_the_answer_hides_no_direction() -> None:
    latents, answers, direction = planted(600, noise=0.1)
    classes = np.arange(600) % 10
    by_class = answers + 40.0 * (classes == 7)  # what a classifier says of a conditional generator's samples
    found = linear_fit(latents, by_class, held_out=100, boundary=20.0, classes=classes)
    assert found is not None and found.auroc is not None and found.accuracy is not None
    assert found.values @ direction / np.linalg.norm(found.values) / np.linalg.norm(direction) > 0.99
    assert found.accuracy > 0.9 and found.auroc > 0.97
    assert 20 < found.above < 80  # the boundary is within classes: 10 of 100 show the class


def test_answers_that_differ_between_classes_alone_have_no_direction() -> None:
    classes = np.arange(120) % 10
    assert linear_fit(planted(120)[0], (classes == 7) * 2.5, held_out=20, classes=classes) is None


def test_a_fit_that_only_guesses_is_called_so_and_one_that_finds_something_is_not() -> None:
    latents, answers, _ = planted(600)
    found = linear_fit(latents, answers, held_out=100)
    noise = linear_fit(latents, np.random.default_rng(1).normal(size=600), held_out=100)
    assert found is not None and noise is not None
    assert guess_note(found, conditional=True) == ""
    assert guess_note(noise, conditional=False) == "; no better than guessing"
    assert "choose the class instead" in guess_note(noise, conditional=True)
