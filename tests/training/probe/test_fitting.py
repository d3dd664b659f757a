"""The choice of cost and scaling, the temperature, and the classifier that comes of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from tests.training.fakes import blobs
from training.batches import to_tensor
from training.errors import DataError
from training.networks.dcgan import Discriminator
from training.probe.features import freeze_statistics, pooled_features
from training.probe.fitting import FewLabels, LabelledFeatures, fit_probe, fit_temperature, hold_out, log_loss, max_fits

CLASSES = 3


def clusters(count: int = 300, *, size: int = 20, apart: float = 0.6, seed: int = 0) -> LabelledFeatures:
    centres = torch.randn(CLASSES, size, generator=torch.Generator().manual_seed(9))
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (count,), generator=random)
    features = apart * centres[labels] + torch.randn(count, size, generator=random)
    return LabelledFeatures(5 + features * torch.logspace(-1, 1, size), labels)  # some features are larger than others


def test_the_probe_classifies_images_it_has_not_seen() -> None:
    probe = fit_probe(clusters(), classes=CLASSES, validation=100)

    assert clusters(seed=1).accuracy(probe.machines[0]) > 0.8
    assert len(probe.machines) == 1


def test_the_best_trial_on_the_validation_part_is_chosen() -> None:
    probe = fit_probe(clusters(), classes=CLASSES, validation=100)

    assert {trial.standardised for trial in probe.trials} == {False, True}
    assert probe.chosen.accuracy == max(trial.accuracy for trial in probe.trials)
    assert probe.chosen.standardised  # the small features say as much as the large ones


def test_the_validation_part_is_not_fitted_on_before_all_is_chosen() -> None:
    one, other = clusters(), clusters()
    other.labels[-100:] = other.labels[-100:].roll(1)  # wrong ones

    for right, wrong in zip(
        fit_probe(one, classes=CLASSES, validation=100, costs=(1.0,)).trials,
        fit_probe(other, classes=CLASSES, validation=100, costs=(1.0,)).trials,
        strict=True,
    ):
        assert right.accuracy > 0.75 > 0.5 > wrong.accuracy


def test_after_two_falls_no_larger_cost_is_tried() -> None:
    told: list[int] = []
    costs = tuple(10.0**n for n in range(-6, 9))

    probe = fit_probe(clusters(60, apart=0.3), classes=CLASSES, validation=30, costs=costs, report=told.append)

    plain = [trial.accuracy for trial in probe.trials if not trial.standardised]
    assert len(plain) < len(costs)
    assert max(plain[-2:]) < max(plain[:-2])
    assert sum(told) == len(probe.trials) + 1
    assert sum(told) <= max_fits(None, costs)


def test_few_labels_give_one_machine_a_draw_and_more_labels_better_ones() -> None:
    told: list[int] = []
    test = clusters(seed=1)

    def accuracy(per_class: int) -> float:
        few = FewLabels(per_class, choosing=2, final=5)
        probe = fit_probe(clusters(), classes=CLASSES, validation=100, few=few, costs=(0.1, 1.0), report=told.append)
        assert len(probe.machines) == 5
        return float(np.mean([test.accuracy(machine) for machine in probe.machines]))

    assert 0.4 < accuracy(2) < accuracy(30)
    assert told == [1] * (2 * max_fits(FewLabels(2, choosing=2, final=5), (0.1, 1.0)))


def test_draws_are_the_same_again_and_differ_from_each_other() -> None:
    few = FewLabels(3, choosing=1, final=2)

    one, again = (
        fit_probe(clusters(), classes=CLASSES, validation=100, few=few, costs=(1.0,)).machines for _ in range(2)
    )

    assert torch.equal(one[0].weights, again[0].weights)
    assert not torch.equal(one[0].weights, one[1].weights)


def test_more_labels_than_there_are_images_of_a_class_are_refused() -> None:
    with pytest.raises(DataError, match="labelled images per class were requested"):
        fit_probe(clusters(), classes=CLASSES, validation=100, few=FewLabels(200))


def test_the_temperature_is_where_the_log_loss_is_least() -> None:
    random = torch.Generator().manual_seed(2)
    honest = torch.randn(4000, CLASSES, generator=random)
    labels = honest.softmax(1).multinomial(1, generator=random)[:, 0]

    temperature = fit_temperature(3 * honest, labels)

    assert temperature == pytest.approx(3, rel=0.1)
    losses = [log_loss(3 * honest / t, labels) for t in (0.98 * temperature, temperature, 1.02 * temperature)]
    assert losses[1] == min(losses)


def test_the_temperature_stays_finite_where_every_example_is_right() -> None:
    scores = torch.eye(CLASSES)

    temperature = fit_temperature(scores, torch.arange(CLASSES))

    assert 1e-4 < temperature < 0.1
    assert math.isfinite(log_loss(scores / temperature, torch.arange(CLASSES)))


def test_the_fitted_temperature_lowers_the_log_loss_on_the_validation_part() -> None:
    before, after = fit_probe(clusters(), classes=CLASSES, validation=100).log_losses

    assert after < before < math.log(CLASSES)


def test_each_class_is_divided_in_the_same_way_and_no_image_is_in_both_parts() -> None:
    labels = np.repeat(np.arange(CLASSES), [50, 30, 2])

    fitted, held = hold_out(labels, classes=CLASSES, share=0.2)

    assert sorted([*fitted, *held]) == list(range(82))
    assert np.bincount(labels[held]).tolist() == [10, 6, 1]
    assert not np.array_equal(fitted, np.sort(fitted))
    assert not np.array_equal(held, hold_out(labels, classes=CLASSES, share=0.2, seed=1)[1])


def test_a_class_that_cannot_be_divided_is_named() -> None:
    with pytest.raises(DataError, match="class 1 has 1 images; a probe needs two"):
        hold_out(np.array([0, 0, 0, 1]), classes=2)
    with pytest.raises(DataError, match="class 2 has 0 images"):
        hold_out(np.array([0, 0, 1, 1]), classes=3)


@pytest.mark.parametrize(("labels", "classes"), [([-1, -1, -1], 0), ([0, 0, 0], 1)])
def test_images_without_labels_are_refused(labels: list[int], classes: int) -> None:
    with pytest.raises(DataError, match=f"two classes or more, and these have {classes}"):
        hold_out(np.array(labels), classes=classes)


def test_the_classifier_says_what_the_machine_says_and_judges_as_the_discriminator() -> None:
    torch.manual_seed(0)
    data = blobs(90, side=32)
    discriminator = Discriminator(image_shape=(1, 32, 32), width=2)
    freeze_statistics(discriminator, data.images)
    features = pooled_features(discriminator, data.images)
    examples = LabelledFeatures(features.clone(), torch.from_numpy(data.labels))
    images = to_tensor(blobs(30, side=32, seed=1).images)

    probe = fit_probe(examples, classes=CLASSES, validation=30)
    with torch.no_grad():
        logits = probe.classifier(discriminator)(to_tensor(data.images))
        unseen = probe.classifier(discriminator)(images)

    expected = (probe.machines[0].scores(features) / probe.temperature).softmax(1)
    torch.testing.assert_close(logits.softmax(1), expected, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(unseen.logsumexp(1), discriminator(images), atol=1e-4, rtol=1e-4)
    assert (unseen.argmax(1) == torch.arange(30) % CLASSES).double().mean() > 0.9
