"""The classifier on a discriminator's features."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from handlers.operations.classification import to_probabilities
from training.networks.dcgan import Discriminator, Layout
from training.networks.probe import ProbeClassifier, feature_count, pooled

SHAPE = (1, 64, 64)


def discriminator(layout: Layout = "strided") -> Discriminator:
    torch.manual_seed(0)
    built = Discriminator(image_shape=SHAPE, width=2, layout=layout)
    built(noise(50))  # moves the stored statistics
    return built.eval()


def noise(count: int) -> Tensor:
    return torch.rand(count, *SHAPE) * 2 - 1


@pytest.mark.parametrize("layout", ["strided", "paired"])
def test_features_are_the_maxima_of_the_cells_of_a_four_by_four_grid(layout: Layout) -> None:
    network, images = discriminator(layout), noise(3)

    maps = network.feature_maps(images)
    features = pooled(maps)

    assert features.shape == (3, feature_count(network))
    first = maps[0]
    cell = first.shape[-1] // 4
    assert features[1, 0] == first[1, 0, :cell, :cell].max()
    assert features[1, 5] == first[1, 0, cell : 2 * cell, cell : 2 * cell].max()
    torch.testing.assert_close(features[:, -maps[-1][0].numel() :], maps[-1].flatten(1))


def test_the_published_network_gives_the_published_number_of_features() -> None:
    assert feature_count(Discriminator(image_shape=(3, 32, 32), width=128, layout="paired")) == 28_672


def test_probabilities_of_classes_are_the_softmax_of_the_linear_scores() -> None:
    classifier, images = ProbeClassifier(discriminator(), classes=4), noise(5)

    scores = classifier.linear(pooled(classifier.discriminator.feature_maps(images)))

    torch.testing.assert_close(classifier(images).softmax(1), scores.softmax(1))


def test_features_are_means_over_an_image_and_its_mirror_image_where_asked() -> None:
    classifier, images = ProbeClassifier(discriminator(), classes=4, mirror=True), noise(5)
    maps = classifier.discriminator.feature_maps
    features = (pooled(maps(images)) + pooled(maps(images.flip(3)))) / 2

    torch.testing.assert_close(classifier(images).softmax(1), classifier.linear(features).softmax(1))
    torch.testing.assert_close(classifier(images).softmax(1), classifier(images.flip(3)).softmax(1))
    torch.testing.assert_close(classifier.logits_and_features(images)[0], classifier(images))


def test_images_are_compared_by_the_largest_number_of_every_map() -> None:
    classifier, images = ProbeClassifier(discriminator(), classes=4), noise(5)

    logits, features = classifier.logits_and_features(images)

    torch.testing.assert_close(logits, classifier(images))
    assert features.shape == (5, classifier.feature_count) == (5, 2 + 4 + 8 + 16)
    last = classifier.discriminator.feature_maps(images)[-1]
    torch.testing.assert_close(features[:, -16:], last.flatten(2).max(dim=2).values)


@pytest.mark.parametrize("mirror", [False, True])
def test_what_is_served_as_generated_is_the_discriminator_s_own_judgement(mirror: bool) -> None:
    classifier, images = ProbeClassifier(discriminator(), classes=4, mirror=mirror), noise(5)

    with torch.no_grad():
        _, generated = to_probabilities(classifier(images).double().numpy())
        real = classifier.discriminator(images).sigmoid().numpy()

    np.testing.assert_allclose(generated, 1 - real, rtol=1e-4)


def test_an_answer_does_not_depend_on_the_neighbours_even_in_train_mode() -> None:
    classifier, images = ProbeClassifier(discriminator(), classes=4).train(), noise(5)

    torch.testing.assert_close(classifier(images)[:1], classifier(images[:1]))
    assert not classifier.discriminator.training


def test_its_weights_are_the_discriminator_s_and_the_linear_layer_s() -> None:
    network = discriminator()

    names = set(ProbeClassifier(network, classes=4).state_dict())

    assert names == {f"discriminator.{name}" for name in network.state_dict()} | {"linear.weight", "linear.bias"}
