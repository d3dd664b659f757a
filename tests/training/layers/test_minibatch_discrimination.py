"""Minibatch discrimination."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.layers import MinibatchDiscrimination


def layer_with_one_kernel() -> MinibatchDiscrimination:
    """M x = x, a single kernel of one dimension, and no bias."""
    layer = MinibatchDiscrimination(1, kernels=1, dimensions=1, reference_size=2)
    with torch.no_grad():
        layer.direction.fill_(1.0)
        layer.bias.zero_()
    return layer


def test_features_are_sums_of_exponentials_of_distances_to_the_others() -> None:
    outputs = layer_with_one_kernel()(torch.tensor([[0.0], [1.0], [3.0]]))

    expected = [math.exp(-1) + math.exp(-3), math.exp(-1) + math.exp(-2), math.exp(-3) + math.exp(-2)]
    assert outputs[:, 0].tolist() == [0.0, 1.0, 3.0]
    assert outputs[:, 1].tolist() == pytest.approx(expected)


def test_distances_are_the_l1_norm_over_the_dimensions_of_each_kernel() -> None:
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(6, kernels=3, dimensions=4).double()
    torch.nn.init.normal_(layer.log_scale, std=0.3)
    inputs = torch.randn(5, 6, dtype=torch.float64)

    outputs = layer(inputs)

    for kernel in range(3):
        norms = layer.direction[kernel].norm(dim=1)
        matrix = layer.direction[kernel] * (layer.log_scale[kernel].exp() / norms)[:, None]  # [C, A]
        for i in range(5):
            others = [(matrix @ (inputs[i] - inputs[j])).abs().sum() for j in range(5) if j != i]
            expected = torch.stack(others).neg().exp().sum() + layer.bias[kernel]
            torch.testing.assert_close(outputs[i, 6 + kernel], expected)


def test_the_distance_to_itself_counts_for_nothing() -> None:
    layer = layer_with_one_kernel()

    assert layer(torch.tensor([[5.0]]))[0, 1].item() == 0.0
    assert layer(torch.tensor([[5.0], [5.0]]))[:, 1].tolist() == [1.0, 1.0]  # a true copy counts


def test_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(4, kernels=2, dimensions=3).double()
    inputs = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    weights = dict(layer.named_parameters())

    def outputs(inputs: Tensor, *values: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(layer, dict(zip(weights, values, strict=True)), (inputs,))
        return result

    assert torch.autograd.gradcheck(outputs, (inputs, *weights.values()))


def test_a_repeated_example_has_finite_gradients() -> None:
    layer = MinibatchDiscrimination(4, kernels=2, dimensions=3)
    inputs = torch.ones(5, 4, requires_grad=True)

    layer(inputs).sum().backward()

    assert inputs.grad is not None
    assert torch.isfinite(inputs.grad).all()


@pytest.mark.parametrize("size", [1.0, 100.0])
def test_wide_inputs_do_not_underflow(size: float) -> None:
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(8192)
    inputs = (size * torch.randn(50, 8192)).requires_grad_()

    layer.initialise_from(inputs.detach())
    features = layer(inputs)[:, 8192:]
    features.sum().backward()

    assert inputs.grad is not None
    assert (features - layer.bias).min() > 1e-3
    assert features.std(0).min() > 1e-3
    assert (inputs.grad != 0).float().mean() > 0.99


def test_unit_features_do_not_underflow_before_initialisation_either() -> None:
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(8192)

    features = layer(torch.randn(100, 8192))[:, 8192:] - layer.bias

    assert features.mean() > 0.1


def test_initialisation_puts_nearest_neighbours_two_apart_and_features_around_zero() -> None:
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(30, kernels=7)
    inputs = 9 + 4 * torch.randn(60, 30)

    returned = layer.initialise_from(inputs)

    outputs = layer(inputs)
    torch.testing.assert_close(outputs, returned)
    torch.testing.assert_close(outputs[:, 30:].mean(0), torch.zeros(7), atol=1e-5, rtol=0)
    kernels = layer.direction * (layer.log_scale.exp() / layer.direction.norm(dim=2))[:, :, None]  # [B, C, A]
    projected = torch.einsum("na,bca->bnc", inputs, kernels)
    apart = torch.cdist(projected, projected, p=1.0) + torch.diag(torch.full((60,), torch.inf))  # [B, N, N]
    nearest = apart.amin(2).mean(1)
    torch.testing.assert_close(nearest, torch.full((7,), 2.0), atol=1e-4, rtol=0)
    assert torch.equal(layer.initialise_from(inputs), returned)  # whatever it was before


def test_initialisation_from_constant_inputs_stays_finite() -> None:
    layer = MinibatchDiscrimination(3)

    layer.initialise_from(torch.ones(10, 3))

    assert torch.isfinite(layer(torch.ones(4, 3))).all()


def test_a_batch_that_has_collapsed_is_told_from_one_that_has_not() -> None:
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(20)
    varied = torch.randn(50, 20)
    layer.initialise_from(varied)

    collapsed = varied[:1] + 0.01 * torch.randn(50, 20)

    assert layer(collapsed)[:, 20:].min() > layer(varied)[:, 20:].max()


def test_among_the_reference_an_example_does_not_depend_on_its_neighbours() -> None:
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(20, reference_size=8)
    layer.store_reference(torch.randn(30, 20))
    inputs = torch.randn(6, 20)

    together = layer.among_reference(inputs)

    torch.testing.assert_close(together[:1], layer.among_reference(inputs[:1]))
    torch.testing.assert_close(together.flip(0), layer.among_reference(inputs.flip(0)))


def test_among_the_reference_an_example_is_as_if_it_had_joined_that_batch() -> None:
    torch.manual_seed(0)
    layer = MinibatchDiscrimination(20, reference_size=8)
    reference, example = torch.randn(8, 20), torch.randn(1, 20)
    layer.store_reference(reference)

    expected = layer(torch.cat([example, reference]))[:1]

    torch.testing.assert_close(layer.among_reference(example), expected)


def test_the_reference_is_saved_and_filled_up_by_repeating() -> None:
    layer = MinibatchDiscrimination(2, reference_size=5)

    layer.store_reference(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))

    assert layer.state_dict()["reference"][:, 0].tolist() == [1.0, 3.0, 1.0, 3.0, 1.0]
    assert layer.out_features == 102
