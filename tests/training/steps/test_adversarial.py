"""One step of a generator against a plain discriminator, fully connected and convolutional."""

from __future__ import annotations

import copy

import pytest
import torch

from tests.training.fakes import blobs, small_adversarial_recipe, small_dcgan_recipe
from training.compute.acceleration import Acceleration
from training.config import RunConfig
from training.data import LabelledImages
from training.errors import DataError, RecipeError
from training.families import family_of
from training.families.gan import GanFamily
from training.recipes import Recipe
from training.steps.adversarial import PENALTY_STEPS, AdversarialStep


def make_step(recipe: Recipe, data: LabelledImages | None = None) -> AdversarialStep:
    data = data or blobs(side=32)
    config = RunConfig.of(recipe, data)
    torch.manual_seed(0)
    family = family_of(config)
    assert isinstance(family, GanFamily)
    step = family.step(family.generator(), family.discriminator(), data, Acceleration())
    assert isinstance(step, AdversarialStep)
    step.initialise()
    return step


RECIPES = [
    small_adversarial_recipe(),
    small_adversarial_recipe(discriminator_steps=2),
    small_adversarial_recipe(real_target=0.9, historical_averaging=0.1),
    small_adversarial_recipe(max_column_norm=0.5),
    small_dcgan_recipe(),
    small_dcgan_recipe(conditional="yes"),
    small_dcgan_recipe(layers="paired", discriminator_activation="prelu", generator_activation="prelu"),
    small_dcgan_recipe(discriminator_steps=2, historical_averaging=0.1, kernel=4),
    small_dcgan_recipe(augment="colour,translation,cutout"),
    small_dcgan_recipe(gradient_penalty=1.0, layers="paired", discriminator_activation="prelu", conditional="yes"),
]


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_moves_every_trained_weight_of_both_networks(recipe: Recipe) -> None:
    step = make_step(recipe)
    before = copy.deepcopy((step.generator.state_dict(), step.discriminator.state_dict()))

    step(0, torch.Generator().manual_seed(0))
    step(recipe.batch_images, torch.Generator().manual_seed(1))  # a slope that begins at 0 moves in the second step

    for network, old in zip((step.generator, step.discriminator), before, strict=True):
        for name, weight in network.named_parameters():
            assert weight.requires_grad, name
            assert not torch.equal(weight, old[name]), name


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_step_goes_on_to_the_bit_after_a_restart(recipe: Recipe) -> None:
    step, other = make_step(recipe), make_step(recipe)
    for number in range(3):
        step(recipe.batch_images * number, torch.Generator().manual_seed(number))
    other.generator.load_state_dict(step.generator.state_dict())
    other.discriminator.load_state_dict(step.discriminator.state_dict())
    other.restore(copy.deepcopy(step.state()))

    seen = 3 * recipe.batch_images

    assert step(seen, torch.Generator().manual_seed(3)) == other(seen, torch.Generator().manual_seed(3))


def test_the_discriminator_learns_to_tell_real_from_generated() -> None:
    step = make_step(small_dcgan_recipe(generator_rate=0.0))

    for number in range(30):
        losses = step(16 * number, torch.Generator().manual_seed(number))

    assert losses["D(x)"] > 0.6 > 0.4 > losses["D(G(z))"]


def test_the_nets_of_2014_move_along_gradients_that_were_taken_before_either_moved(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    still = make_step(small_adversarial_recipe())
    racing = make_step(small_adversarial_recipe())
    monkeypatch.setattr(racing.players["discriminator"].optimiser, "step", lambda: None)  # it stays where it is

    still(0, torch.Generator().manual_seed(0))
    racing(0, torch.Generator().manual_seed(0))

    for moved, other in zip(still.generator.parameters(), racing.generator.parameters(), strict=True):
        assert torch.equal(moved, other)


def test_the_momentum_of_2014_grows_and_the_rate_shrinks() -> None:
    recipe = small_adversarial_recipe(momentum_images=160, rate_divisor=1.5, rate=0.1, least_rate=0.04)
    step = make_step(recipe)

    seen = []
    for number in range(11):
        step(16 * number, torch.Generator().manual_seed(number))
        settings = step.players["generator"].optimiser.param_groups[0]
        seen.append((settings["momentum"], settings["lr"]))

    assert seen[0] == (0.5, 0.1)
    assert seen[1] == (pytest.approx(0.52), pytest.approx(0.1 / 1.5))
    assert seen[10] == (pytest.approx(0.7), 0.04)


def test_the_columns_of_constrained_networks_stay_short() -> None:
    step = make_step(small_adversarial_recipe(max_column_norm=0.05, rate=5.0))

    step(0, torch.Generator().manual_seed(0))

    weights = [
        weight
        for network in (step.generator, step.discriminator)
        for weight in network.parameters()
        if weight.ndim == 2
    ]
    assert weights
    assert all(weight.norm(dim=1).max() <= 0.0501 for weight in weights)


def test_a_conditional_pair_refuses_images_without_labels() -> None:
    bare = blobs(side=32)
    with pytest.raises(DataError, match="conditional=yes needs images with labels"):
        make_step(
            small_dcgan_recipe(conditional="yes"),
            LabelledImages(bare.images, bare.labels * 0 - 1, ()),
        )


@pytest.mark.parametrize("augment", ["no", "translation"])
def test_the_discriminator_sees_augmented_images_in_every_pass(augment: str) -> None:
    step = make_step(small_dcgan_recipe(augment=augment))
    seen = []
    step.discriminator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))

    step(0, torch.Generator().manual_seed(0))

    black = [bool((images[:, :, 0] == 0).all(dim=(1, 2)).any()) for images in seen]
    assert black == [augment != "no"] * 3  # real, generated, and generated again in the generator's step


@pytest.mark.parametrize("recipe", [small_dcgan_recipe(), small_dcgan_recipe(layers="paired", precision="bfloat16")])
def test_a_penalty_on_slopes_changes_every_sixteenth_step_of_the_discriminator(recipe: Recipe) -> None:
    changed = []
    for number in range(PENALTY_STEPS + 1):
        weights = []
        for penalty in (0.0, 10.0):
            step = make_step(recipe.overridden({"gradient_penalty": penalty}))
            step(number * recipe.batch_images, torch.Generator().manual_seed(0))
            weights.append(torch.cat([each.detach().flatten() for each in step.discriminator.parameters()]))
        if not torch.equal(*weights):
            changed.append(number)

    assert changed == [0, PENALTY_STEPS]


def test_a_compiled_discriminator_has_no_penalty_on_slopes() -> None:
    with pytest.raises(RecipeError, match="gradient_penalty=0 or compile=no"):
        small_dcgan_recipe(gradient_penalty=1.0, compile="yes")
