"""Hidden layers are seen in the order in which a network computes them, and changed where that is asked for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from handlers.compute.inside.activations import Masks, layer_shapes, watched
from handlers.compute.inside.fields import Axis, Field, fields_of
from tests.training.fakes import blobs, small_adversarial_recipe, small_dcgan_recipe, small_recipe
from training.config import RunConfig
from training.families import family_of
from training.networks.dcgan import Discriminator
from training.recipes import RECIPES, Recipe

CONV = RECIPES["ssgan-conv32"].overridden({"generator_widths": (8, 6, 4), "discriminator_widths": (4, 6)})


def shapes(recipe: Recipe, *, of: str) -> list[tuple[int, int, int]]:
    """The layers of a network of a recipe for images of 32 x 32."""
    config = RunConfig.of(recipe, blobs(side=32))
    network = getattr(family_of(config), of)().eval()
    inputs = torch.zeros(1, config.latent_size) if of == "generator" else torch.zeros(1, *config.image_shape)
    return layer_shapes(lambda: network(inputs))


@pytest.mark.parametrize(
    ("recipe", "of", "expected"),
    [
        (small_dcgan_recipe(), "generator", [(16, 4, 4), (8, 8, 8), (4, 16, 16)]),
        (small_dcgan_recipe(), "discriminator", [(4, 16, 16), (8, 8, 8), (16, 4, 4)]),
        (small_dcgan_recipe(generator_activation="prelu"), "generator", [(16, 4, 4), (8, 8, 8), (4, 16, 16)]),
        (small_adversarial_recipe(), "generator", [(7, 1, 1), (6, 1, 1)]),
        (small_adversarial_recipe(), "discriminator", [(6, 1, 1), (5, 1, 1)]),
        (small_recipe(), "generator", [(7, 1, 1), (6, 1, 1)]),
        (small_recipe(), "classifier", [(9, 1, 1), (8, 1, 1)]),
        (CONV, "generator", [(8, 4, 4), (6, 8, 8), (4, 16, 16)]),
        (CONV, "classifier", [(4, 32, 32)] * 2 + [(4, 16, 16)] + [(6, 16, 16)] * 2 + [(6, 8, 8)] + [(6, 6, 6)] * 3),
    ],
)
def test_every_hidden_layer_is_seen_in_its_place(recipe: Recipe, of: str, expected: list[tuple[int, int, int]]) -> None:
    assert shapes(recipe, of=of) == expected


def test_masks_drop_maps_or_keep_the_others_from_being_seen() -> None:
    units = torch.arange(12.0).view(1, 3, 2, 2) + 1
    masks = Masks(drop={1: [0, 2]}, keep={2: [1]})

    assert torch.equal(masks.apply(1, units), masks.apply(2, units))
    assert torch.equal(masks.apply(1, units)[:, 1], units[:, 1])
    assert float(masks.apply(1, units)[:, [0, 2]].abs().sum()) == 0
    assert masks.apply(3, units) is units


def test_what_replaces_activations_is_what_the_network_goes_on_with() -> None:
    def forward() -> Tensor:
        return torch.relu(torch.relu(torch.tensor([[1.0]])) + 1) * 3

    with watched(lambda layer, units: units * 10 if layer == 1 else units):
        assert forward().item() == 33.0
    assert forward().item() == 6.0


def test_receptive_fields_follow_from_kernels_strides_and_paddings() -> None:
    # Kernels of 4 with stride 2 and padding 1, as DCGAN's: 4 pixels 2 apart from -1, then 10, 4 apart from -3, then 22.
    network = Discriminator(image_shape=(1, 32, 32), width=4, kernel=4).eval()

    fields = fields_of(lambda: network(torch.zeros(1, 1, 32, 32)))

    axes = [Axis(4, 2, -1), Axis(10, 4, -3), Axis(22, 8, -7)]
    assert fields == [Field(axis, axis) for axis in axes]
    assert axes[1].span(0, 32) == (0, 7)
    assert axes[1].span(3, 32) == (9, 10)
    assert axes[1].span(7, 32) == (25, 7)


@pytest.mark.parametrize("recipe", [small_dcgan_recipe(), small_dcgan_recipe(layers="paired")])
def test_a_receptive_field_is_where_changed_pixels_are_felt(recipe: Recipe) -> None:
    config = RunConfig.of(recipe, blobs(side=32))
    network = family_of(config).discriminator().eval()
    fields = fields_of(lambda: network(torch.zeros(1, *config.image_shape)))
    found: list[Tensor] = []
    images = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(2)).requires_grad_(True)

    def note(_: int, units: Tensor) -> Tensor:
        found.append(units)
        return units

    with watched(note):
        network(images)

    for field, maps in zip(fields, found, strict=True):
        place = maps.shape[2] // 2
        [felt] = torch.autograd.grad(maps[0, :, place, place].sum(), images, retain_graph=True)
        rows = felt[0, 0].abs().sum(dim=1).nonzero().flatten()
        assert field is not None
        assert (int(rows[0]), len(rows)) == field.down.span(place, 32)


def test_fully_connected_units_have_no_receptive_field() -> None:
    config = RunConfig.of(small_adversarial_recipe(), blobs())
    network = family_of(config).discriminator().eval()

    assert fields_of(lambda: network(torch.zeros(1, *config.image_shape))) == [None, None]
