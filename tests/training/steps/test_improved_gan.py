"""One step of the K+1 GAN, with each of its techniques."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from tests.training.fakes import blobs, small_recipe
from training.batches import SemiSupervisedBatch, SemiSupervisedBatches
from training.compute.acceleration import Acceleration
from training.config import RunConfig
from training.errors import RecipeError
from training.families import family_of
from training.networks import improved_gan
from training.recipes import ImprovedGanRecipe
from training.steps.improved_gan import ImprovedGanStep


def make_step(recipe: ImprovedGanRecipe | None = None) -> tuple[ImprovedGanStep, SemiSupervisedBatch]:
    data, recipe = blobs(), recipe or small_recipe()
    config = RunConfig.of(recipe, data)
    torch.manual_seed(0)
    generator, discriminator = family_of(config).generator(), family_of(config).discriminator()
    assert isinstance(generator, improved_gan.Generator)
    assert isinstance(discriminator, improved_gan.Discriminator)
    step = ImprovedGanStep(generator, discriminator, recipe, data, Acceleration())
    step.initialise()
    return step, SemiSupervisedBatches(data, recipe).at(0, torch.Generator().manual_seed(0))


def test_a_step_moves_both_networks_and_nothing_that_is_frozen() -> None:
    step, batch = make_step()
    before = copy.deepcopy((step.generator.state_dict(), step.discriminator.state_dict()))

    step.on(batch, torch.Generator())

    for network, old in zip((step.generator, step.discriminator), before, strict=True):
        for name, weight in network.named_parameters():
            assert torch.equal(weight, old[name]) == (not weight.requires_grad), name


def test_a_step_leaves_every_trained_weight_trainable() -> None:
    step, batch = make_step()
    trained = [weight.requires_grad for weight in step.discriminator.parameters()]

    step.on(batch, torch.Generator())

    assert [weight.requires_grad for weight in step.discriminator.parameters()] == trained


def test_a_rate_of_zero_leaves_the_weights_as_they_are() -> None:
    step, batch = make_step()
    before = copy.deepcopy(list(step.discriminator.parameters()))

    step.on(batch, torch.Generator(), rate_share=0.0)

    assert all(torch.equal(old, new) for old, new in zip(before, step.discriminator.parameters(), strict=True))


def test_repeated_steps_learn_the_labels_of_their_batch() -> None:
    step, batch = make_step()

    first = step.on(batch, torch.Generator().manual_seed(0))["labels"]
    for number in range(60):
        last = step.on(batch, torch.Generator().manual_seed(number))["labels"]

    assert last < first / 2


def test_moments_are_restored_to_the_bit() -> None:
    step, batch = make_step()
    step.on(batch, torch.Generator())
    other, _ = make_step()

    other.restore(step.state())

    assert step.state().keys() == other.state().keys()
    assert all(torch.equal(moment, other.state()[name]) for name, moment in step.state().items())


TECHNIQUES: list[dict[str, object]] = [
    {"match_distance": "absolute"},
    {"generator_loss": "non-saturating"},
    {"generator_loss": "minimax"},
    {"minibatch_kernels": 4, "minibatch_dimensions": 3, "generator_loss": "non-saturating"},
    {"minibatch_kernels": 4, "minibatch_dimensions": 3},
    {"historical_averaging": 0.1},
    {"real_target": 0.9},
    {"generator_norm": "virtual"},
    {"labels": 0},
    {"generator_steps": 3},
    {"entropy": 0.1},
    {"pull_away": 0.8},
    {"virtual_adversarial": 1.0},
    {"manifold": 1e-3},
]


@pytest.mark.parametrize("fields", TECHNIQUES, ids="-".join)
def test_every_technique_takes_steps_that_go_on_to_the_bit_after_a_restart(fields: dict[str, object]) -> None:
    recipe = small_recipe(**fields)
    step, _ = make_step(recipe)
    for number in range(3):
        step(8 * number, torch.Generator().manual_seed(number))
    other, _ = make_step(recipe)
    other.generator.load_state_dict(step.generator.state_dict())
    other.discriminator.load_state_dict(step.discriminator.state_dict())
    other.restore(copy.deepcopy(step.state()))

    expected = step(24, torch.Generator().manual_seed(3))
    losses = other(24, torch.Generator().manual_seed(3))

    assert losses == expected
    assert ("labels" in losses) == (recipe.labels > 0)
    for name, weight in step.generator.state_dict().items():
        assert torch.equal(weight, other.generator.state_dict()[name]), name


def test_one_sided_smoothing_raises_the_loss_of_a_sure_discriminator_on_real_images_only() -> None:
    plain, batch = make_step()
    smooth, _ = make_step(small_recipe(real_target=0.9))
    for _ in range(40):
        plain.on(batch, torch.Generator().manual_seed(0))

    smooth.discriminator.load_state_dict(plain.discriminator.state_dict())
    smooth.generator.load_state_dict(plain.generator.state_dict())
    hard, soft = (each.on(batch, torch.Generator().manual_seed(1)) for each in (plain, smooth))

    assert soft["real"] != hard["real"]
    assert soft["fake"] == hard["fake"]


def test_what_later_papers_add_is_reported_and_moves_the_weights() -> None:
    fields: dict[str, object] = {"entropy": 0.5, "pull_away": 0.8, "virtual_adversarial": 1.0, "manifold": 0.1}
    plain, batch = make_step()
    more, _ = make_step(small_recipe(**fields))

    losses = more.on(batch, torch.Generator().manual_seed(0))
    plain.on(batch, torch.Generator().manual_seed(0))

    assert {"entropy", "adversarial", "manifold", "pull_away"} <= losses.keys()
    for one, other in ((plain.generator, more.generator), (plain.discriminator, more.discriminator)):
        assert any(not torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


@pytest.mark.parametrize("term", ["virtual_adversarial", "manifold"])
def test_smoothness_is_asked_of_the_noisy_classifier_that_is_trained(term: str) -> None:
    """A classifier that is constant without noise, but not with it, is not smooth."""
    step, batch = make_step(small_recipe(**{term: 1.0}))
    forward = step.discriminator.forward

    def constant_without_noise(images: Tensor, noise: torch.Generator | None = None) -> Tensor:
        logits: Tensor = forward(images, noise)
        return logits if noise is not None else 0 * logits

    step.discriminator.forward = constant_without_noise  # type: ignore[method-assign]
    losses = step.on(batch, torch.Generator().manual_seed(0))
    assert losses["adversarial" if term == "virtual_adversarial" else term] > 0


def test_pulling_away_needs_the_features_that_are_matched() -> None:
    with pytest.raises(RecipeError, match="feature-matching"):
        small_recipe(pull_away=0.8, generator_loss="minimax")
