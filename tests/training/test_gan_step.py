"""One step of the K+1 GAN."""

from __future__ import annotations

import copy
import math

import pytest
import torch

from tests.training.fakes import blobs, small_recipe
from training.batches import Batches
from training.checkpoint import RunConfig
from training.gan_step import Average, Batch, ImprovedGanStep
from training.networks import build_classifier, build_generator


def make_step() -> tuple[ImprovedGanStep, Batch]:
    data, recipe = blobs(), small_recipe()
    config = RunConfig.of(recipe, data)
    torch.manual_seed(0)
    batch = Batches(data, recipe).at(0, torch.Generator().manual_seed(0))
    return ImprovedGanStep(build_generator(config), build_classifier(config), recipe), batch


def test_a_step_moves_both_networks_and_nothing_that_is_frozen() -> None:
    step, batch = make_step()
    before = copy.deepcopy((step.generator.state_dict(), step.discriminator.state_dict()))

    step(batch, torch.Generator())

    for network, old in zip((step.generator, step.discriminator), before, strict=True):
        for name, weight in network.named_parameters():
            assert torch.equal(weight, old[name]) == (not weight.requires_grad), name


def test_a_step_leaves_every_trained_weight_trainable() -> None:
    step, batch = make_step()
    trained = [weight.requires_grad for weight in step.discriminator.parameters()]

    step(batch, torch.Generator())

    assert [weight.requires_grad for weight in step.discriminator.parameters()] == trained


def test_a_rate_of_zero_leaves_the_weights_as_they_are() -> None:
    step, batch = make_step()
    before = copy.deepcopy(list(step.discriminator.parameters()))

    step(batch, torch.Generator(), rate_share=0.0)

    assert all(torch.equal(old, new) for old, new in zip(before, step.discriminator.parameters(), strict=True))


def test_repeated_steps_learn_the_labels_of_their_batch() -> None:
    step, batch = make_step()

    first = step(batch, torch.Generator().manual_seed(0)).supervised
    for number in range(60):
        last = step(batch, torch.Generator().manual_seed(number)).supervised

    assert last < first / 2


def test_losses_know_when_one_of_them_is_no_longer_a_number() -> None:
    step, batch = make_step()
    with torch.no_grad():
        step.discriminator.output.bias.fill_(math.nan)

    assert not step(batch, torch.Generator()).are_finite()


def test_moments_are_restored_to_the_bit() -> None:
    step, batch = make_step()
    step(batch, torch.Generator())
    other, _ = make_step()

    other.restore(step.moments())

    assert step.moments().keys() == other.moments().keys()
    assert all(torch.equal(moment, other.moments()[name]) for name, moment in step.moments().items())


def test_the_average_loses_half_of_the_old_weights_over_its_half_life() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    average = Average(network, share=0.5)
    torch.nn.init.ones_(network.weight)

    average.update(batch_images=100, images_seen=200)  # half-life 0.5 * 200 images

    assert average.network.weight.item() == pytest.approx(0.5)


def test_an_average_without_memory_is_the_present_weights() -> None:
    network = torch.nn.Linear(2, 2)
    average = Average(network, share=0.0)
    torch.nn.init.ones_(network.weight)

    average.update(batch_images=10, images_seen=1000)

    assert torch.equal(average.network.weight, network.weight)
