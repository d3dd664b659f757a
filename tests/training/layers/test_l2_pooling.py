"""L2 pooling against its sum written out."""

from __future__ import annotations

import math

import pytest
import torch

from training.layers import l2_pooling


@pytest.mark.parametrize(("window", "stride"), [(1, 1), (2, 1), (3, 2), (5, 5)])
def test_a_pool_is_the_root_of_a_sum_of_squares(window: int, stride: int) -> None:
    responses = torch.randn(2, 6, 5, 3, dtype=torch.float64)

    pooled = l2_pooling(responses, window=window, stride=stride, epsilon=0.01)

    maps, rows, columns, images = pooled.shape
    assert (maps, rows, columns, images) == (2, (6 - window) // stride + 1, (5 - window) // stride + 1, 3)
    for at in torch.cartesian_prod(*map(torch.arange, pooled.shape)).tolist():
        m, y, x, n = at
        seen = responses[m, y * stride : y * stride + window, x * stride : x * stride + window, n]
        assert pooled[m, y, x, n].item() == pytest.approx(math.sqrt(0.01 + float((seen**2).sum())))


def test_its_gradient_is_finite_where_nothing_responds() -> None:
    responses = torch.zeros(1, 3, 3, 2, requires_grad=True)

    l2_pooling(responses, window=2, epsilon=1e-4).sum().backward()  # type: ignore[no-untyped-call]

    assert responses.grad is not None
    assert torch.equal(responses.grad, torch.zeros_like(responses))
