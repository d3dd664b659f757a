"""A projection is the transposed convolution of a map of 1 x 1."""

from __future__ import annotations

import torch
from torch import nn

from handlers.compute.fast.projection import Projection


def test_the_result_is_that_of_the_transposed_convolution() -> None:
    torch.manual_seed(1)
    layer = nn.ConvTranspose2d(10, 6, 4).requires_grad_(False)
    latents = torch.randn(5, 10, 1, 1)
    found = Projection(layer)(latents)
    torch.testing.assert_close(found, layer(latents), rtol=1e-5, atol=1e-5)
    assert found.shape == (5, 6, 4, 4) and found.is_contiguous(memory_format=torch.channels_last)
