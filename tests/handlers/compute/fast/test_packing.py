"""Packed weights give the bits of the layers that they are packed from."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from handlers.compute.fast.arithmetic import rewrite
from handlers.compute.fast.packing import PackedProjection, PackedTransposed, pack_weights
from tests.handlers.compute.fast.conftest import GENERATORS, inputs_of, stirred


@pytest.mark.parametrize("rows", [1, 3, 8, 24])
def test_a_generator_has_the_same_bits_with_its_weights_packed(generator_name: str, rows: int) -> None:
    plain, packed = (stirred(GENERATORS[generator_name]) for _ in range(2))
    for network in (plain, packed):
        rewrite(network, "bfloat16")
    pack_weights(packed)
    inputs = [each[:rows] for each in inputs_of(generator_name)]
    with torch.inference_mode():
        assert torch.equal(packed(*inputs), plain(*inputs))


def test_the_layers_of_a_dcgan_are_packed() -> None:
    network = stirred(GENERATORS["dcgan"])
    rewrite(network, "bfloat16")
    pack_weights(network)
    kinds = [type(layer) for layer in network.modules()]
    assert kinds.count(PackedProjection) == 1 and kinds.count(PackedTransposed) == 2


def test_a_number_that_is_not_finite_stays_so() -> None:
    layer = PackedTransposed(nn.ConvTranspose2d(4, 4, 4, stride=2, padding=1).requires_grad_(False).bfloat16())
    inputs = torch.zeros(1, 4, 4, 4)
    inputs[0, 0, 0, 0] = torch.nan
    with torch.inference_mode():
        assert bool(layer(inputs).isnan().any())
