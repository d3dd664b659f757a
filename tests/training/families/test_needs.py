"""What a training needs, counted without being allocated."""

from __future__ import annotations

import resource

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.training.fakes import (
    blobs,
    small_adversarial_recipe,
    small_autoencoder_recipe,
    small_dcgan_recipe,
    small_recipe,
)
from training.config import RunConfig
from training.errors import DataError
from training.families import family_of
from training.families.needs import Needs
from training.loop.dry_run import noise
from training.recipes import Recipe, SparseAutoencoderRecipe, recipe_named


def config_of(recipe: Recipe, *, side: int = 12) -> RunConfig:
    return RunConfig.of(recipe, blobs(side=side))


def counted(**fields: object) -> Needs:
    return family_of(config_of(small_autoencoder_recipe(**fields))).needs()


def test_the_weights_of_the_largest_recipe_are_counted_without_being_allocated() -> None:
    recipe = recipe_named("face-neuron-xl")
    assert isinstance(recipe, SparseAutoencoderRecipe)
    assert recipe.size is not None
    config = RunConfig.of(recipe.overridden({"batch": 1}), noise(recipe.overridden({"batch": 1}), (*recipe.size, 3)))
    side, channels, weights = recipe.size[0], 3, []
    for maps, field, stride, pool, pool_stride in zip(
        recipe.maps, recipe.receptive_fields, recipe.strides, recipe.pools, recipe.pool_strides, strict=True
    ):
        places = (side - field) // stride + 1
        weights.append(2 * places**2 * maps * channels * field**2)  # encoder and decoder
        side, channels = (places - pool) // pool_stride + 1, maps
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    found = family_of(config).needs()

    assert [part.weights for part in found.parts] == weights
    assert found.weight_bytes == found.gradient_bytes == found.moment_bytes // 2 == 4 * sum(weights)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < found.weight_bytes / 4


@pytest.mark.parametrize(
    ("recipe", "side", "held"),
    [(small_recipe(), 6, 5), (small_adversarial_recipe(), 6, 4), (small_dcgan_recipe(), 32, 5)],
)
def test_the_players_of_a_gan_are_counted(recipe: Recipe, side: int, held: int) -> None:
    """Weights, gradients, one or two moments, an average."""
    config = config_of(recipe, side=side)
    weights = family_of(config).begin(blobs(side=side)).weights()

    found = family_of(config).needs()

    assert [part.name for part in found.parts] == ["generator", "discriminator"]
    assert found.parts[0].units == side**2
    assert 0 < found.weights <= sum(tensor.numel() for name, tensor in weights.items() if "average" not in name)
    assert found.total_bytes == 4 * held * found.weights
    assert (found.activation_bytes, found.flop_per_image) == (None, None)


def test_the_computation_is_that_of_a_real_step() -> None:
    recipe = small_autoencoder_recipe(schedule="jointly")
    network = family_of(config_of(recipe)).autoencoder()
    with FlopCounterMode(display=False) as counter:
        losses = network.learn(torch.zeros(recipe.batch, 1, 12, 12), through=True)
        torch.stack([part for loss in losses for part in loss]).sum().backward()  # type: ignore[no-untyped-call]

    assert counted(schedule="jointly").flop_per_image == counter.get_total_flops() / recipe.batch


def test_without_a_gradient_to_the_images_a_stage_takes_ten_operations_a_filter_weight() -> None:
    """A multiplication and an addition each: two passes forward; back, two to the weights and one to the responses."""
    alone: dict[str, object] = {"maps": "3", "receptive_fields": "4", "strides": "2", "pools": "2", "pool_strides": "1"}

    found = counted(**alone, sparsity="0.1", contrast_window=0, input_window=0)

    assert found.flop_per_image == 10 * (5 * 5 * 3 * 16)


def test_activations_grow_with_the_batch_and_weights_do_not() -> None:
    one, two = counted(batch=8), counted(batch=16)

    assert one.activation_bytes is not None
    assert one.activation_bytes > 8 * 12 * 12 * 4
    assert two.activation_bytes == pytest.approx(2 * one.activation_bytes, rel=0.05)
    assert (one.weights, one.flop_per_image) == (two.weights, two.flop_per_image)


def test_greedily_one_stage_has_gradients() -> None:
    found = counted(schedule="greedily")

    assert found.gradient_bytes == 4 * max(part.weights for part in found.parts) < found.weight_bytes


def test_networks_that_do_not_fit_are_refused() -> None:
    with pytest.raises(DataError, match="stage 1 on 12x12 places"):
        counted(receptive_fields=(13, 2, 2))
