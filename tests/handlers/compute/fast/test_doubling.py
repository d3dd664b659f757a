"""Both forms of a transposed convolution that doubles the side give its result."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from handlers.compute.fast.doubling import PatchDoubling, WindowDoubling, doubles_the_side

FORMS: list[type[PatchDoubling | WindowDoubling]] = [PatchDoubling, WindowDoubling]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (3, 5)])
def test_the_result_is_that_of_the_transposed_convolution(
    form: type[PatchDoubling | WindowDoubling], size: tuple[int, int]
) -> None:
    torch.manual_seed(1)
    layer = nn.ConvTranspose2d(6, 3, 4, stride=2, padding=1).requires_grad_(False)
    inputs = torch.randn(5, 6, *size)
    for memory_format in (torch.contiguous_format, torch.channels_last):
        found = form(layer)(inputs.contiguous(memory_format=memory_format))
        torch.testing.assert_close(found, layer(inputs), rtol=1e-5, atol=1e-5)
        assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("form", FORMS)
def test_a_product_in_bfloat16_is_as_near_as_that_of_the_transposed_convolution(
    form: type[PatchDoubling | WindowDoubling],
) -> None:
    torch.manual_seed(1)
    layer = nn.ConvTranspose2d(64, 8, 4, stride=2, padding=1).requires_grad_(False).bfloat16()
    inputs = torch.randn(5, 64, 4, 4).bfloat16()
    assert layer.bias is not None
    exact = nn.functional.conv_transpose2d(
        inputs.double(), layer.weight.double(), layer.bias.double(), stride=2, padding=1
    )
    # Sums are kept in float32 and rounded once, to a relative 2^-9.
    torch.testing.assert_close(form(layer)(inputs).double(), exact, rtol=2**-8, atol=1e-4)


@pytest.mark.parametrize(
    "other",
    [
        nn.ConvTranspose2d(6, 3, 5, stride=2, padding=2, output_padding=1),
        nn.ConvTranspose2d(6, 3, 4, stride=1, padding=0),
        nn.ConvTranspose2d(6, 3, 4, stride=2, padding=1, groups=3),
    ],
    ids=["5 x 5", "stride 1", "groups"],
)
def test_another_layer_is_none_of_these(other: nn.ConvTranspose2d) -> None:
    assert not doubles_the_side(other)
    assert doubles_the_side(nn.ConvTranspose2d(6, 3, 4, stride=2, padding=1))
