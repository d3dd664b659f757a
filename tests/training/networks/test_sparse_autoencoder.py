"""The sparse autoencoder: its loss by hand, what flows between its stages, and what does not fit it."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from tests.training.fakes import blobs, small_autoencoder_recipe, small_recipe
from training.config import RunConfig
from training.errors import DataError, RecipeError
from training.families import family_of
from training.networks.sparse_autoencoder import SparseAutoencoder, Stage, StageShape

SHAPE = StageShape(
    maps=3, field=3, stride=1, pool=2, pool_stride=1, epsilon=0.01, window=3, floor=0.01
)  # of a stage on a few places


def small_network(**fields: object) -> SparseAutoencoder:
    torch.manual_seed(0)
    return family_of(RunConfig.of(small_autoencoder_recipe(**fields), blobs(side=12))).autoencoder()


def images(count: int = 5, *, side: int = 12) -> Tensor:
    return torch.rand(count, 1, side, side, generator=torch.Generator().manual_seed(1)) * 2 - 1


def test_the_loss_is_equation_1() -> None:
    torch.manual_seed(0)
    stage, inputs = Stage((2, 5, 5), SHAPE), torch.randn(2, 5, 5, 4)
    encoder, decoder = stage.filters.weight.detach(), stage.decoder.weight.detach()  # [3, 3, 3, 18], [3, 3, 18, 3]
    squares, sparsity = 0.0, 0.0
    for n in range(4):
        responses, rebuilt = torch.zeros(3, 3, 3), torch.zeros(2, 5, 5)
        for y in range(3):
            for x in range(3):
                responses[:, y, x] = encoder[y, x] @ inputs[:, y : y + 3, x : x + 3, n].flatten()
                rebuilt[:, y : y + 3, x : x + 3] += (decoder[y, x] @ responses[:, y, x]).view(2, 3, 3)
        squares += float((rebuilt - inputs[..., n]).square().sum())
        pools = [responses[:, y : y + 2, x : x + 2].square().sum(dim=(1, 2)) for y in (0, 1) for x in (0, 1)]
        sparsity += float((0.01 + torch.stack(pools)).sqrt().sum())

    loss, units = stage.learn(inputs)

    assert loss.reconstruction.item() == pytest.approx(squares / 4, rel=1e-5)
    assert loss.sparsity.item() == pytest.approx(sparsity / 4, rel=1e-5)
    assert units.shape == (*stage.shape, 4) == (3, 2, 2, 4)
    assert torch.allclose(units, stage(inputs))


def test_a_plain_autoencoder_pools_the_mean_of_its_tanh() -> None:
    torch.manual_seed(0)
    stage = Stage((1, 5, 5), dataclasses.replace(SHAPE, squared=False, window=0))
    inputs = torch.randn(1, 5, 5, 2)
    responses = stage.filters(inputs).tanh()

    expected = responses[:, 1:3, 0:2].mean(dim=(1, 2))

    assert torch.allclose(stage(inputs)[:, 1, 0], expected, atol=1e-6)
    assert torch.allclose(stage.reconstruct(inputs), stage.decoder(responses))


def test_every_stage_looks_at_the_units_of_the_one_before() -> None:
    network = small_network()
    seen = images()

    activations = network(seen)

    assert [tuple(units.shape[1:]) for units in activations] == list(network.unit_shapes)
    below = network.inputs(seen)
    for stage, units in zip(network.stages, activations, strict=True):
        below = stage(below)
        assert torch.equal(below.permute(3, 0, 1, 2), units)


def test_an_image_s_units_do_not_depend_on_the_others() -> None:
    network, seen = small_network(), images()

    for together, alone in zip(network(seen), network(seen[2:3]), strict=True):
        assert torch.allclose(together[2:3], alone, atol=1e-5)


def gradients(network: SparseAutoencoder, number: int, *, through: bool) -> list[bool]:
    """Say of every stage whether the loss of one has a gradient in it."""
    network.zero_grad(set_to_none=True)
    loss = network.learn(images(), through=through)[number]
    (loss.reconstruction + loss.sparsity).backward()  # type: ignore[no-untyped-call]
    return [
        all(weight.grad is not None and bool(weight.grad.any()) for weight in stage.parameters())
        for stage in network.stages
    ]


def test_losses_reach_the_stages_below_only_if_they_may() -> None:
    network = small_network()

    assert gradients(network, 1, through=False) == [False, True, False]
    network.zero_grad(set_to_none=True)
    reached = network.learn(images(), through=True)[1].reconstruction
    reached.backward()  # type: ignore[no-untyped-call]
    encoders = [stage.filters.weight.grad for stage in network.stages]  # type: ignore[union-attr]
    assert [gradient is not None for gradient in encoders] == [True, True, False]


@pytest.mark.parametrize("window", [0, 5])
def test_a_first_stage_that_keeps_everything_gives_the_images_back(window: int) -> None:
    """Contrast normalisation of the images is undone, whatever it did."""
    identity = dataclasses.replace(SHAPE, maps=3, field=1, pool=1)
    network = SparseAutoencoder(image_shape=(3, 8, 8), stages=[identity], input_window=window)
    eye = torch.eye(3).expand(8, 8, 3, 3)
    network.first_stage.filters.weight.data.copy_(eye)
    network.first_stage.decoder.weight.data.copy_(eye)
    shown = torch.rand(2, 3, 8, 8) * 2 - 1

    assert torch.allclose(network.reconstruct(shown), shown, atol=1e-5)


def test_a_reconstruction_is_an_image() -> None:
    network = small_network()
    nn.init.normal_(network.first_stage.decoder.weight, std=100)

    rebuilt = network.reconstruct(images())

    assert rebuilt.shape == (5, 1, 12, 12)
    assert bool((rebuilt.abs() <= 1).all())


def test_the_decoder_s_patches_are_shortened_to_unit_length_and_short_ones_left() -> None:
    network = small_network()
    weight = network.first_stage.decoder.weight  # [H', W', K, M]
    nn.init.normal_(weight, std=1)
    weight.data[..., 0] *= 1e-3
    before = weight.detach().clone()

    network.constrain()

    lengths = weight.detach().norm(dim=2)
    assert torch.allclose(lengths[..., 1:], torch.ones_like(lengths[..., 1:]))
    assert torch.equal(weight[..., 0], before[..., 0])
    assert torch.allclose(weight[0, 0, :, 1], before[0, 0, :, 1] / before[0, 0, :, 1].norm())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"receptive_fields": (13, 2, 2)}, r"stage 1 on 12x12 places: 3 maps of fields of 13, 2 apart, do not fit"),
        ({"receptive_fields": (4, 9, 2)}, r"stage 2 on 4x4 places: 4 maps of fields of 9, 1 apart, do not fit"),
        ({"pools": (9, 2, 1)}, r"stage 1 on 12x12 places: pools of 9 do not fit filters at 5x5 places"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_stage(fields: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        small_network(**fields)


@pytest.mark.parametrize("shape", [(1, 12, 12), (3, 12, 11), (3, 1, 12)])
def test_images_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    network = SparseAutoencoder(image_shape=(3, 12, 12), stages=[SHAPE])

    for look in (network, network.reconstruct):
        with pytest.raises(DataError, match=r"images are \[.*\] \(C, H, W\), but the network sees \[3, 12, 12\]"):
            look(torch.zeros(2, *shape))


def test_a_recipe_of_a_gan_has_no_neurons() -> None:
    with pytest.raises(RecipeError, match="trains no autoencoder"):
        family_of(RunConfig.of(small_recipe(), blobs())).autoencoder()
