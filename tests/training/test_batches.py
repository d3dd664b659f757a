"""Batches are a function of (seed, images seen)."""

from __future__ import annotations

import numpy as np
import torch

from tests.training.fakes import blobs, small_recipe
from training.batches import RealBatches, SemiSupervisedBatch, SemiSupervisedBatches, predicted, to_pixels, to_tensor


def batch_at(batches: SemiSupervisedBatches, images_seen: int) -> SemiSupervisedBatch:
    return batches.at(images_seen, torch.Generator().manual_seed(images_seen))


def test_a_batch_does_not_depend_on_those_before_it() -> None:
    walked, asked = SemiSupervisedBatches(blobs(), small_recipe()), SemiSupervisedBatches(blobs(), small_recipe())
    for images_seen in range(0, 160, 8):
        last = batch_at(walked, images_seen)

    alone = batch_at(asked, 152)

    assert all(torch.equal(getattr(last, name), getattr(alone, name)) for name in SemiSupervisedBatch.__slots__)


def test_one_pass_shows_every_image_once() -> None:
    data = blobs(40)
    batches = SemiSupervisedBatches(data, small_recipe())

    seen = torch.cat([batch_at(batches, images_seen).unlabelled for images_seen in range(0, 40, 8)])

    order = sorted(image.numpy().tobytes() for image in seen)
    assert order == sorted(image.numpy().tobytes() for image in to_tensor(data.images))


def test_the_generator_gets_other_images_than_the_discriminator() -> None:
    batch = batch_at(SemiSupervisedBatches(blobs(), small_recipe()), 0)

    assert not torch.equal(batch.unlabelled, batch.unlabelled_fresh)


def test_labelled_batches_go_round_the_few_labelled_images_and_keep_their_labels() -> None:
    data = blobs()
    batches = SemiSupervisedBatches(data, small_recipe())
    known = {to_tensor(data.images[n : n + 1]).numpy().tobytes(): data.labels[n] for n in batches.labelled}

    for images_seen in range(0, 80, 8):
        batch = batch_at(batches, images_seen)
        for image, label in zip(batch.labelled, batch.labels, strict=True):
            assert known[image[None].numpy().tobytes()] == label


def test_mirroring_turns_about_half_of_the_images_around_and_always_the_same_ones() -> None:
    data = blobs(64)
    plain = RealBatches(data, seed=3, batch=64).at(0).images
    mirrored = RealBatches(data, seed=3, batch=64, mirror=True).at(0).images

    turned = [not torch.equal(one, other) for one, other in zip(plain, mirrored, strict=True)]
    assert 16 < sum(turned) < 48
    assert all(
        torch.equal(other, one.flip(-1) if was_turned else one)
        for one, other, was_turned in zip(plain, mirrored, turned, strict=True)
    )
    assert torch.equal(mirrored, RealBatches(data, seed=3, batch=64, mirror=True).at(0).images)


def test_runs_with_one_label_seed_share_their_labels_and_nothing_else() -> None:
    data = blobs()
    first, second, other = (
        SemiSupervisedBatches(data, small_recipe(seed=seed, label_seed=labels))
        for seed, labels in ((1, 5), (2, 5), (2, -1))
    )

    assert first.labelled.tolist() == second.labelled.tolist() != other.labelled.tolist()
    assert not torch.equal(batch_at(first, 0).unlabelled, batch_at(second, 0).unlabelled)


def test_pixels_survive_the_way_in_and_out() -> None:
    images = np.arange(256, dtype=np.uint8).reshape(1, 8, 32, 1).repeat(3, axis=3)

    inside = to_tensor(images)

    assert inside.shape == (1, 3, 8, 32)
    assert (inside.min().item(), inside.max().item()) == (-1, 1)
    assert np.array_equal(to_pixels(inside), images)


def test_predictions_come_in_the_order_of_the_images() -> None:
    images = np.array([0, 255, 0, 255, 255], np.uint8).reshape(5, 1, 1, 1)

    classes = predicted(lambda batch: torch.cat([-batch.flatten(1), batch.flatten(1)], dim=1), images, batch=2)

    assert classes.tolist() == [0, 1, 0, 1, 1]
