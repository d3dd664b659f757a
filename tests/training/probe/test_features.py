"""The features of a discriminator, and its frozen statistics."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from training.batches import to_tensor
from training.networks.dcgan import Discriminator
from training.networks.probe import pooled
from training.probe.features import BATCH, centre, freeze_statistics, pooled_features

RANDOM = np.random.default_rng(0)


def small_discriminator() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(image_shape=(1, 32, 32), width=2)


def noise(count: int) -> np.ndarray:
    return RANDOM.integers(0, 256, (count, 32, 32, 1), dtype=np.uint8)


def test_statistics_are_the_mean_of_those_of_full_batches() -> None:
    discriminator, images = small_discriminator(), noise(2 * BATCH + 5)
    told: list[int] = []

    freeze_statistics(discriminator, images, report=told.append)

    with torch.no_grad():
        first = discriminator.activations[0](discriminator.hidden[0](to_tensor(images[: 2 * BATCH])))
        batches = discriminator.hidden[1](first).unflatten(0, (2, BATCH))
    norm = discriminator.norms[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert told == [BATCH, BATCH]
    assert not discriminator.training
    torch.testing.assert_close(norm.running_mean, batches.mean((0, 1, 3, 4)), atol=1e-6, rtol=1e-4)
    torch.testing.assert_close(norm.running_var, batches.movedim(2, 0).flatten(2).var(2).mean(1), rtol=1e-4, atol=0)


def test_batches_follow_the_order_that_is_given() -> None:
    one, other = small_discriminator(), small_discriminator()
    images = np.sort(noise(2 * BATCH), axis=0)  # from dark to bright
    order = RANDOM.permutation(2 * BATCH)

    freeze_statistics(one, images, order=order)
    freeze_statistics(other, images[order])

    torch.testing.assert_close(one.state_dict(), other.state_dict())
    torch.testing.assert_close(pooled_features(one, images, order=order[:9]), pooled_features(one, images)[order[:9]])


def test_a_batch_that_is_not_full_serves_where_it_is_the_only_one() -> None:
    discriminator, images = small_discriminator(), noise(7)

    freeze_statistics(discriminator, images)

    frozen = discriminator(to_tensor(images))
    norm = discriminator.norms[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.num_batches_tracked == 1
    torch.testing.assert_close(frozen, discriminator.train()(to_tensor(images)), atol=5e-3, rtol=2e-2)


def test_features_do_not_depend_on_how_the_images_are_batched() -> None:
    discriminator, images = small_discriminator(), noise(BATCH + 3)
    freeze_statistics(discriminator, images)
    told: list[int] = []

    features = pooled_features(discriminator, images, report=told.append)

    with torch.no_grad():
        at_once = pooled(discriminator.feature_maps(to_tensor(images)))
    assert told == [BATCH, 3]
    torch.testing.assert_close(features, at_once, atol=1e-5, rtol=1e-4)


def test_centred_features_have_mean_zero_and_the_deviations_are_told() -> None:
    features = 3 * torch.randn(2500, 4) + torch.tensor([0.0, 10.0, -5.0, 2.0])
    before = features.clone()

    mean, deviation = centre(features)

    torch.testing.assert_close(mean, before.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(deviation, before.std(0, correction=0), rtol=1e-5, atol=0)
    torch.testing.assert_close(features, before - mean)
