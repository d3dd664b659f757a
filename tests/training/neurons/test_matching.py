from __future__ import annotations

import numpy as np
import pytest

from training.neurons.examples import in_proportion
from training.neurons.linear import logistic
from training.neurons.matching import held_out, image_statistics, matched


def test_statistics_are_those_of_the_pixels() -> None:
    flat = np.full((1, 5, 5, 3), 51, np.uint8)
    stripes = np.zeros((1, 5, 6, 1), np.uint8)
    stripes[:, :, ::2] = 255

    grey = image_statistics(flat)[0]
    striped = image_statistics(stripes)[0]

    assert grey[:3] == pytest.approx(0.2)
    assert grey[3:5] == pytest.approx(0)
    assert striped[:3] == pytest.approx([0.5, 0.5, 0.5])
    assert striped[3:] == pytest.approx([np.log(1 + 1e-4), np.log(2 + 1e-4), 2 / (1 + 1e-4)])


def test_statistics_of_many_images_are_those_of_each() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1003, 4, 4, 3), dtype=np.uint8)

    assert np.array_equal(image_statistics(images)[-5:], image_statistics(images[-5:]))


def test_matching_brings_a_confounded_control_down_to_the_base_rate() -> None:
    random = np.random.default_rng(0)
    positives, groups = np.arange(2400) < 600, np.arange(2400)
    statistics = random.normal(np.where(positives, 0.8, 0)[:, None], 1, (2400, 4))
    statistics[:, 3] *= np.where(positives, 1.5, 1)

    def control(rows: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> float:
        rows = rows[in_proportion(positives[rows], share=0.648, seed=1)]
        model = logistic(quadratic=True)
        odds = held_out(model, statistics[rows], positives[rows], groups[rows], seed=1)
        return float(((odds > 0) == positives[rows]).mean())

    before, after = control(groups), control(matched(statistics, positives, groups, seed=1))

    assert before > 0.8
    assert after == pytest.approx(0.648, abs=0.04)


def test_matching_keeps_the_same_images_for_a_seed_and_others_for_another() -> None:
    random = np.random.default_rng(0)
    statistics, positives, groups = random.normal(size=(300, 3)), np.arange(300) < 100, np.arange(300)

    kept = matched(statistics, positives, groups, seed=1)

    assert np.array_equal(kept, matched(statistics, positives, groups, seed=1))
    assert not np.array_equal(kept, matched(statistics, positives, groups, seed=2))


def test_no_example_is_judged_by_a_model_that_saw_its_group() -> None:
    """Each group's label is drawn by lot and its features name the group: only a model that saw it could know."""
    random = np.random.default_rng(0)
    groups = np.arange(400) // 4
    positives = (random.random(100) < 0.5)[groups]
    features = random.normal(size=(100, 60))[groups]

    odds = held_out(logistic(), features, positives, groups, seed=1)

    assert ((odds > 0) == positives).mean() < 0.65
