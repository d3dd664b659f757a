"""A folded weight-normalised layer is one of torch's own with the same results."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
import torch
from torch import nn

from handlers.compute.fast.weight_norm import fold_weight_norm
from training.layers import WeightNormConv2d, WeightNormConvTranspose2d, WeightNormLinear

LAYERS: Mapping[str, tuple[Callable[[], nn.Module], type[nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: WeightNormLinear(6, 4, scale="trained"), nn.Linear, (6,)),
    "convolution": (lambda: WeightNormConv2d(6, 4, 3, scale="frozen", stride=2, padding=1), nn.Conv2d, (6, 9, 9)),
    "transposed convolution": (
        lambda: WeightNormConvTranspose2d(6, 4, 5, scale="trained", stride=2, padding=2, output_padding=1),
        nn.ConvTranspose2d,
        (6, 9, 9),
    ),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_folded_layer_gives_the_same(name: str) -> None:
    build, kind, shape = LAYERS[name]
    torch.manual_seed(1)
    network = nn.Sequential(build()).requires_grad_(False)
    for name, weight in network.named_parameters():
        if not name.endswith("direction"):
            weight.uniform_(0.5, 2)
    inputs = torch.randn(5, *shape)
    expected = network(inputs)
    fold_weight_norm(network)
    assert type(network[0]) is kind
    torch.testing.assert_close(network(inputs), expected, rtol=1e-5, atol=1e-5)
