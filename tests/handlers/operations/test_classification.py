"""Probabilities are right, and an answer does not depend on what else is asked."""

from __future__ import annotations

import dataclasses
from typing import cast

import numpy as np
import pytest
import torch

from handlers.compute.batch_sizes import fixed
from handlers.compute.model import Model
from handlers.errors import RequestError
from handlers.operations.classification import Classifier, to_probabilities
from handlers.operations.direct import answers
from handlers.protocol.images import from_pixels
from handlers.protocol.messages import HEADER_BYTES
from handlers.protocol.requests import Answer, Canary, Classify, Failure, Generate
from tests.support.direct import classify, classify_with_features
from training.networks.improved_gan import Discriminator


def some_images(count: int) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 6, 5, 2), dtype=np.uint8)


def test_equal_logits_of_zero_give_equal_shares_with_the_generated_class() -> None:
    probabilities, generated = to_probabilities(np.zeros((2, 3)))
    assert probabilities == pytest.approx(np.full((2, 3), 1 / 3))
    assert generated == pytest.approx([1 / 4, 1 / 4])  # 1 / (1 + 3 exp 0)


@pytest.mark.parametrize("size", [0.0, 1.0, 50.0, 1e4, 3e38])
def test_large_logits_neither_overflow_nor_lose_the_sum(size: float) -> None:
    logits = size * np.array([[1.0, 0.5, -1.0], [-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        probabilities, generated = to_probabilities(logits)
    assert probabilities.dtype == generated.dtype == np.float32
    assert np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1).max() < 1e-6
    assert ((generated >= 0) & (generated <= 1)).all()
    if size:
        assert generated[1] > generated[0]


def test_many_classes_still_sum_to_one() -> None:
    logits = np.random.default_rng(0).normal(0, 10, (50, 1000))
    probabilities, _ = to_probabilities(logits)
    assert np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1).max() < 1e-6


def test_an_image_is_judged_alike_whatever_its_neighbours_show(classifier: Model) -> None:
    images = some_images(8)
    changed = images.copy()
    changed[np.arange(8) != 3] = 255 - changed[np.arange(8) != 3]
    first, second = classify(classifier, images), classify(classifier, changed)
    assert np.array_equal(first[0][3], second[0][3]) and first[1][3] == second[1][3]


def test_a_prefix_of_the_images_is_judged_alike(classifier: Model) -> None:
    images = some_images(21)
    whole = classify(classifier, images)
    for count in (1, 7, 8, 9, 20):
        part = classify(classifier, images[:count])
        assert np.array_equal(part[0], whole[0][:count]) and np.array_equal(part[1], whole[1][:count])


def test_a_logit_that_is_not_finite_fails_that_request_only(classifier: Model) -> None:
    class Suspicious(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.flatten(1).sum(1, keepdim=True).sqrt().expand(-1, 3)  # NaN for dark images

    suspicious = Classifier(dataclasses.replace(classifier, network=Suspicious(), sizes=fixed(1)), 10**6)
    dark, bright = np.zeros((1, 6, 5, 2), np.uint8), np.full((1, 6, 5, 2), 255, np.uint8)
    first, second = answers(suspicious, [Classify(dark), Classify(bright)])
    assert first == Failure("error", "the model's logits are not finite")
    assert isinstance(second, Answer) and second.tensors["probabilities"] == pytest.approx(np.full((1, 3), 1 / 3))


def test_features_are_the_layer_before_the_last_of_the_same_forward_pass(classifier: Model) -> None:
    images = some_images(11)
    probabilities, generated, features = classify_with_features(classifier, images)
    network = cast(Discriminator, classifier.network)
    expected = network.features(from_pixels(images, classifier.device))
    assert features.shape == (11, classifier.features) == (11, 8)
    np.testing.assert_allclose(features, expected.float().numpy(), atol=1e-5)
    assert np.array_equal(classify(classifier, images)[0], probabilities)
    assert np.array_equal(classify(classifier, images)[1], generated)


def test_features_that_do_not_fit_an_answer_are_refused_before_the_forward_pass(classifier: Model) -> None:
    request = Classify(some_images(100), features=True)
    Classifier(classifier, HEADER_BYTES + 100 * 12 * 4).check(request)
    with pytest.raises(RequestError, match="100 images with 8 features each do not fit"):
        Classifier(classifier, HEADER_BYTES + 100 * 12 * 4 - 4).check(request)


def test_a_classifier_with_too_many_features_has_none(classifier: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("handlers.compute.model.MAX_FEATURES", 7)
    assert classifier.features == 0 and classifier.description["features"] == 0
    with pytest.raises(RequestError, match="no features"):
        Classifier(classifier, 10**6).check(Classify(some_images(1), features=True))


def test_the_canary_is_a_real_forward_pass(classifier: Model) -> None:
    assert answers(Classifier(classifier, 10**6), [Canary()]) == [Answer()]


def test_images_of_another_shape_are_refused_with_both_shapes(classifier: Model) -> None:
    with pytest.raises(RequestError, match="6 x 5 x 2, not 6 x 5 x 3"):
        Classifier(classifier, 10**6).check(Classify(np.zeros((1, 6, 5, 3), np.uint8)))


def test_a_classifier_does_not_generate(classifier: Model) -> None:
    with pytest.raises(RequestError, match="cannot generate"):
        Classifier(classifier, 10**6).check(Generate(0, 0, 1))
