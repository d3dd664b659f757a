"""First weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from training.layers import uniform_glorot


def test_glorot_weights_are_uniform_with_variance_two_over_the_sum_of_the_widths() -> None:
    torch.manual_seed(0)

    linear = uniform_glorot(nn.Linear(300, 100))

    assert linear.weight.var().item() == pytest.approx(2 / 400, rel=0.02)
    assert linear.weight.abs().max().item() <= (6 / 400) ** 0.5
    assert not linear.bias.any()
