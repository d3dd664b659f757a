"""Training images, their components and their means as filters."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.neurons.image_filters import image_filters, principal_components
from training.neurons.search import Labels
from training.neurons.table import COMPONENTS, IMAGES, MEANS


def pattern_images(count: int, shows: NDArray[np.bool_], *, seed: int) -> NDArray[np.float32]:
    """Noise, with one fixed pattern added where `shows` is set."""
    random = np.random.default_rng(seed)
    images = random.normal(0, 0.5, (count, 1, 12, 12)).astype(np.float32)
    images[shows] += np.random.default_rng(99).choice([-0.2, 0.2], (1, 12, 12)).astype(np.float32)
    return images


def test_each_kind_finds_a_pattern_that_training_images_share() -> None:
    number = np.arange(300)
    labels = Labels(number % 3 == 0, number, number < 150)
    seen = pattern_images(300, labels.positives, seed=1)
    training = pattern_images(2500, np.arange(2500) % 2 == 0, seed=2)
    told: list[tuple[str, int]] = []

    def begin(name: str, total: int) -> object:
        told.append((name, total))
        return lambda more: None

    rows = image_filters(seen, training, labels, count=1200, seed=1, begin=begin)  # type: ignore[arg-type]

    assert [row.name for row in rows] == [IMAGES, COMPONENTS, MEANS]
    assert [row.honest > 0.9 for row in rows[1:]] == [True, True]
    assert rows[0].honest > 0.8  # a single image is mostly noise
    assert told == [(IMAGES, 1200), (COMPONENTS, 64), (MEANS, 100)]


def test_a_mean_of_images_finds_no_more_than_they_show() -> None:
    number = np.arange(300)
    labels = Labels(number % 3 == 0, number, number < 150)
    seen = pattern_images(300, labels.positives, seed=1)

    def of_means(shows: NDArray[np.bool_]) -> float:
        training = pattern_images(len(shows), shows, seed=3)
        return image_filters(seen, training, labels, seed=1, begin=lambda name, total: lambda more: None)[2].honest

    assert of_means(np.zeros(2000, bool)) + 0.05 < of_means(np.arange(2000) % 2 == 0)


def test_components_are_orthonormal_and_in_order_of_variance() -> None:
    rows = (np.random.default_rng(0).normal(size=(4000, 5)) * [1, 5, 2, 4, 3]).astype(np.float32)

    found = principal_components(rows, 3)

    assert np.abs(found).argmax(1).tolist() == [1, 3, 4]
    assert found @ found.T == pytest.approx(np.eye(3), abs=1e-6)
