from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from training.neurons.search import (
    Choice,
    Labels,
    best_thresholds,
    concept,
    decided,
    measure,
    search,
    unit_blocks,
)


def labelled(count: int = 200) -> Labels:
    """Every other image is a positive; the first half is to choose on."""
    number = np.arange(count)
    return Labels(number % 2 == 0, number, number < count // 2)


def noise(labels: Labels, units: int, *, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((len(labels.positives), units), np.float32)


def test_thresholds_are_twenty_equally_spaced_ones_from_the_lowest_to_the_highest_activation() -> None:
    activations = np.arange(20, dtype=np.float32)[:, None]

    for cut in range(1, 20):
        accuracy, threshold, sign = best_thresholds(activations, np.arange(20) >= cut)

        assert (accuracy[0], threshold[0], sign[0]) == (1, pytest.approx(cut - 1), 1)


def test_low_activations_may_mean_the_concept() -> None:
    accuracy, threshold, sign = best_thresholds(np.array([[0.0], [1.0], [18.0], [19.0]]), np.array([1, 1, 0, 0], bool))

    assert (accuracy[0], sign[0]) == (1, -1)
    choice = Choice(0, -1, float(threshold[0]), 1.0)
    assert choice.decides(np.array([0.0, 1.0, 18.0, 19.0])).tolist() == [True, True, False, False]


def test_a_unit_that_never_changes_is_as_good_as_the_majority() -> None:
    accuracy, _, _ = best_thresholds(np.full((10, 1), 3.0), np.arange(10) < 3)

    assert accuracy[0] == 0.7


def test_the_accuracy_of_a_choice_is_that_of_its_decisions() -> None:
    labels = labelled()
    activations = noise(labels, 50)

    accuracies, thresholds, signs = best_thresholds(activations, labels.positives)

    for unit in range(50):
        choice = Choice(unit, int(signs[unit]), float(thresholds[unit]), 0)
        assert (choice.decides(activations[:, unit]) == labels.positives).mean() == pytest.approx(accuracies[unit])


def test_blocks_of_units_give_what_all_at_once_give() -> None:
    labels = labelled()
    activations = noise(labels, 37)
    told: list[int] = []

    whole = search([activations], labels)
    cut = search([activations[:, :10], activations[:, 10:11], activations[:, 11:]], labels, report=told.append)

    assert (cut.paper, cut.honest) == (whole.paper, whole.honest)
    assert np.array_equal(cut.activations, activations[:, whole.honest.unit])
    assert told == [10, 1, 26]


def test_blocks_cover_every_unit_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.neurons.search.BLOCK_VALUES", 25)
    activations = np.arange(60.0).reshape(6, 10)

    blocks = list(unit_blocks(activations))

    assert [block.shape for block in blocks] == [(6, 4), (6, 4), (6, 2)]
    assert np.array_equal(np.concatenate(blocks, axis=1), activations)


def test_a_unit_that_knows_the_concept_is_found_by_both_protocols() -> None:
    labels = labelled()
    activations = noise(labels, 40)
    activations[:, 23] = np.where(labels.positives, -5, 5)

    found = search([activations], labels)

    assert (found.paper.unit, found.honest.unit, found.honest.sign) == (23, 23, -1)
    assert measure(found.honest, found.activations, labels, seed=1).accuracy == 1


def test_a_unit_that_is_perfect_on_the_choosing_half_only_is_reported_as_chance() -> None:
    labels = labelled(1000)
    activations = noise(labels, 40)
    activations[labels.choosing, 7] = np.where(labels.positives, 5, -5)[labels.choosing]

    found = search([activations], labels)
    result = measure(found.honest, found.activations, labels, seed=1)

    assert (found.honest.unit, found.honest.accuracy) == (7, 1)
    assert result.accuracy == pytest.approx(0.5, abs=0.08)
    assert result.low < 0.5 < result.high
    assert result.auroc == pytest.approx(0.5, abs=0.08)


def test_the_honest_choice_and_the_confidence_read_nothing_of_the_reporting_half() -> None:
    labels = labelled()
    activations = noise(labels, 40)
    other = activations.copy()
    other[~labels.choosing] = noise(labels, 40, seed=9)[~labels.choosing] * 100

    one, two = search([activations], labels), search([other], labels)

    assert one.honest == two.honest
    first, second = (concept("face", 1, found, labels, seed=1) for found in (one, two))
    assert (first.slope, first.intercept) == (second.slope, second.intercept)


def test_the_paper_s_protocol_flatters_noise_and_the_honest_one_does_not() -> None:
    labels = labelled()

    found = search([noise(labels, 5000)], labels)

    assert found.paper.accuracy > 0.6
    assert measure(found.honest, found.activations, labels, seed=1).accuracy == pytest.approx(0.5, abs=0.12)


def test_a_concept_decides_and_is_sure_as_its_neuron_was_measured() -> None:
    labels = labelled()
    activations = noise(labels, 5)
    activations[:, 3] += 3 * labels.positives

    result = concept("face", 2, search([activations], labels), labels, seed=1)

    assert (result.name, result.stage, result.unit, result.sign) == ("face", 2, 3, 1)
    assert (result.positives, result.distractors) == (50, 50)
    reported = activations[~labels.choosing, 3]
    right = result.decides(reported) == labels.positives[~labels.choosing]
    assert right.mean() == result.accuracy
    assert result.accuracy_low <= result.accuracy <= result.accuracy_high
    sure = result.confidence(reported)
    assert sure[labels.positives[~labels.choosing]].mean() > 0.8


def test_a_choice_can_be_measured_on_other_images_as_it_is() -> None:
    result = decided(Choice(0, 1, 0.5, 1.0), np.array([0.0, 1.0, 2.0, 0.0]), np.array([0, 1, 0, 0], bool), seed=1)

    assert (result.accuracy, result.positives, result.distractors) == (0.75, 1, 3)
    assert result.auroc == pytest.approx(2 / 3)


def test_there_must_be_a_unit() -> None:
    with pytest.raises(ValueError, match="no units"):
        search([], labelled())
