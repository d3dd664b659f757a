"""A pair is called as its discriminator."""

from __future__ import annotations

import torch

from tests.training.fakes import blobs, small_adversarial_recipe, small_dcgan_recipe, small_recipe
from training.config import RunConfig
from training.families import family_of

IMAGES = torch.rand(4, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_a_discriminator_has_one_logit_for_each_image() -> None:
    for recipe in (small_dcgan_recipe(), small_adversarial_recipe()):
        pair = family_of(RunConfig.of(recipe, blobs(side=32))).pair().eval()

        assert torch.equal(pair(IMAGES)[:, 0], pair.discriminator(IMAGES))


def test_a_conditional_one_has_a_logit_for_each_class() -> None:
    pair = family_of(RunConfig.of(small_dcgan_recipe(conditional="yes"), blobs(side=32))).pair().eval()

    logits = pair(IMAGES)

    assert logits.shape == (4, 3)
    for label in range(3):
        expected = pair.discriminator(IMAGES, torch.full((4,), label))
        torch.testing.assert_close(logits[:, label], expected)


def test_a_classifier_of_k_classes_keeps_its_logits() -> None:
    pair = family_of(RunConfig.of(small_recipe(), blobs(side=32))).pair().eval()

    assert torch.equal(pair(IMAGES), pair.discriminator(IMAGES))
