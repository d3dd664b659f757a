"""Maxout units."""

from __future__ import annotations

import torch

from training.layers import Maxout


def test_two_opposite_pieces_are_the_absolute_value() -> None:
    layer = Maxout(1, 1, 2)
    with torch.no_grad():
        layer.linear.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        layer.linear.bias.zero_()

    assert layer(torch.tensor([[-3.0], [0.0], [2.0]])).tolist() == [[3.0], [0.0], [2.0]]


def test_a_unit_is_the_largest_of_its_own_pieces() -> None:
    layer = Maxout(4, 3, 5)
    inputs = torch.randn(6, 4)

    pieces = layer.linear(inputs)  # [6, 15], piece after piece of 3 units
    expected = torch.stack([pieces[:, piece * 3 : piece * 3 + 3] for piece in range(5)]).amax(0)

    outputs = layer(inputs)
    assert outputs.shape == (6, 3)
    assert torch.equal(outputs, expected)


def test_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    layer = Maxout(4, 3, 5).double()

    assert torch.autograd.gradcheck(layer, torch.randn(2, 4, dtype=torch.float64, requires_grad=True))


def test_only_longer_weight_vectors_are_shortened() -> None:
    layer = Maxout(2, 1, 2)
    with torch.no_grad():
        layer.linear.weight.copy_(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))

    layer.constrain(2.5)

    torch.testing.assert_close(layer.linear.weight, torch.tensor([[1.5, 2.0], [0.3, 0.4]]))
