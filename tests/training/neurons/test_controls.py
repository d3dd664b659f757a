from __future__ import annotations

import numpy as np
import pytest

from training.neurons.controls import majority, random_filters, search_stages, statistics_control
from training.neurons.search import Labels
from training.neurons.table import FILTERS, SMOOTH_FILTERS


def labelled(count: int = 400, *, every: int = 3) -> Labels:
    number = np.arange(count)
    return Labels(number % every == 0, number, number < count // 2)


def test_the_majority_is_right_as_often_as_it_occurs() -> None:
    row = majority(labelled(300))

    assert (row.paper, row.honest) == pytest.approx((2 / 3, 2 / 3))
    assert row.low is None


def test_statistics_that_tell_the_sides_apart_make_a_good_control() -> None:
    labels = labelled()
    statistics = np.random.default_rng(0).normal(size=(400, 3))

    useless = statistics_control(statistics, labels, seed=1)
    statistics[:, 1] += 3 * labels.positives
    useful = statistics_control(statistics, labels, seed=1)

    assert useless.honest == pytest.approx(2 / 3, abs=0.08)
    assert useful.honest > 0.9
    assert useful.paper > 0.9


def test_statistics_are_tried_with_their_squares() -> None:
    labels = labelled()
    statistics = np.random.default_rng(0).normal(size=(400, 2))
    statistics[:, 0] *= np.where(labels.positives, 10, 0.5)

    assert statistics_control(statistics, labels, seed=1).paper > 0.85


def test_extreme_images_do_not_weaken_the_statistics() -> None:
    labels = labelled()
    statistics = np.random.default_rng(0).normal(size=(400, 3))
    statistics[:, 1] += 4 * labels.positives
    for half in (labels.choosing, ~labels.choosing):
        statistics[np.flatnonzero(labels.positives & half)[0], 1] = 150

    assert statistics_control(statistics, labels, seed=1).honest > 0.9


def test_filters_are_random_by_seed_and_a_bright_half_is_found_by_one() -> None:
    labels = labelled()
    seen = np.random.default_rng(0).normal(0, 0.1, (400, 1, 6, 6)).astype(np.float32)
    seen[labels.positives, :, :3] += 1

    row = random_filters(seen, labels, count=300, seed=1)

    assert row.name == FILTERS
    assert row.honest > 0.95
    assert row == random_filters(seen, labels, count=300, seed=1)


def test_more_filters_than_a_block_are_all_tried() -> None:
    labels = labelled(60)
    seen = np.random.default_rng(0).normal(size=(60, 1, 4, 4)).astype(np.float32)
    told: list[int] = []

    random_filters(seen, labels, count=2300, seed=1, report=told.append)

    assert told == [1000, 1000, 300]


def test_smooth_filters_see_large_shapes_through_noise() -> None:
    labels = labelled()
    seen = np.random.default_rng(0).normal(0, 3, (400, 1, 16, 16)).astype(np.float32)
    seen[labels.positives, :, :8] += 1

    smooth = random_filters(seen, labels, count=500, smooth=1 / 8, seed=1)

    assert smooth.name == SMOOTH_FILTERS
    assert smooth.honest > random_filters(seen, labels, count=500, seed=1).honest + 0.05


def test_a_network_is_as_good_as_its_best_stage() -> None:
    labels = labelled()
    poor = np.random.default_rng(0).normal(size=(400, 5))
    good = poor.copy()
    good[:, 2] += 9 * labels.positives

    stages = search_stages([poor, good, poor], labels)

    assert stages.best == 1
    row = stages.row("network", labels, seed=1)
    assert row.where == "2:2"
    assert row.honest == pytest.approx(1, abs=0.01)
    assert row.paper == max(each.paper.accuracy for each in stages.found)
