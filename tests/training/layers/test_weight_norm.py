"""Weight normalisation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from training.layers import Scale, WeightNormConv2d, WeightNormConvTranspose2d, WeightNormLinear

LAYERS = ["linear", "convolution", "transposed"]


def layer_of(kind: str, *, scale: Scale = "trained") -> WeightNormLinear | WeightNormConv2d | WeightNormConvTranspose2d:
    if kind == "linear":
        return WeightNormLinear(4, 3, scale=scale, direction_std=1.0)
    if kind == "convolution":
        return WeightNormConv2d(4, 3, 3, scale=scale, stride=2, padding=1, direction_std=1.0)
    return WeightNormConvTranspose2d(4, 3, 5, scale=scale, stride=2, padding=2, output_padding=1, direction_std=1.0)


def inputs_of(kind: str, count: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn((count, 4) if kind == "linear" else (count, 4, 3, 3), dtype=dtype)


def randomised(layer: nn.Module) -> None:
    assert isinstance(layer.scale, Tensor)
    assert isinstance(layer.bias, Tensor)
    nn.init.uniform_(layer.scale, 0.5, 2)
    nn.init.uniform_(layer.bias)


def test_linear_layer_is_the_linear_layer_of_the_normalised_weight() -> None:
    layer = WeightNormLinear(4, 3, scale="trained")
    randomised(layer)
    inputs = torch.randn(5, 4)

    weight = layer.scale[:, None] * layer.direction / layer.direction.norm(dim=1, keepdim=True)

    torch.testing.assert_close(layer(inputs), functional.linear(inputs, weight, layer.bias))


def test_convolution_has_kernels_of_the_length_of_its_scale() -> None:
    layer = WeightNormConv2d(4, 3, 3, scale="trained", stride=2, padding=1)
    randomised(layer)
    inputs = torch.randn(5, 4, 7, 7)

    weight = torch.stack([g * v / v.norm() for g, v in zip(layer.scale, layer.direction, strict=True)])

    outputs = layer(inputs)
    assert outputs.shape == (5, 3, 4, 4)
    torch.testing.assert_close(outputs, functional.conv2d(inputs, weight, layer.bias, stride=2, padding=1))


def test_transposed_convolution_normalises_the_kernels_of_each_output_channel() -> None:
    layer = WeightNormConvTranspose2d(4, 3, 5, scale="trained", stride=2, padding=2, output_padding=1)
    randomised(layer)
    inputs = torch.randn(5, 4, 4, 4)

    kernels = [g * v / v.norm() for g, v in zip(layer.scale, layer.direction.transpose(0, 1), strict=True)]
    weight = torch.stack(kernels, dim=1)

    outputs = layer(inputs)
    assert outputs.shape == (5, 3, 8, 8)
    expected = functional.conv_transpose2d(inputs, weight, layer.bias, stride=2, padding=2, output_padding=1)
    torch.testing.assert_close(outputs, expected)


@pytest.mark.parametrize("kind", LAYERS)
def test_gradient_is_that_of_finite_differences(kind: str) -> None:
    torch.manual_seed(0)
    layer = layer_of(kind).double()
    inputs = inputs_of(kind, 2, torch.float64).requires_grad_()
    names = [name for name, _ in layer.named_parameters()]

    def outputs(inputs: Tensor, *weights: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (inputs,))
        return result

    assert torch.autograd.gradcheck(outputs, (inputs, *layer.parameters()))


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize(("scale", "gets_gradient"), [("trained", True), ("frozen", False)])
def test_only_a_trained_scale_gets_a_gradient(kind: str, scale: Scale, gets_gradient: bool) -> None:
    layer = layer_of(kind, scale=scale)

    layer(inputs_of(kind, 5)).sum().backward()

    assert (layer.scale.grad is not None) == gets_gradient
    assert layer.direction.grad is not None


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("deviation", [1.0, 0.1])
def test_data_dependent_initialisation_gives_every_unit_mean_zero_and_the_deviation(
    kind: str, deviation: float
) -> None:
    torch.manual_seed(0)
    layer = layer_of(kind, scale="frozen")
    inputs = 3 + 5 * inputs_of(kind, 500)

    returned = layer.initialise_from(inputs, deviation=deviation)

    outputs = layer(inputs)
    over = [0, *range(2, outputs.ndim)]
    torch.testing.assert_close(outputs, returned, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(outputs.mean(over), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs.std(over, correction=0), torch.full((3,), deviation), atol=1e-4, rtol=0)


def test_initialisation_from_constant_inputs_stays_finite() -> None:
    layer = WeightNormLinear(3, 2, scale="frozen")

    layer.initialise_from(torch.ones(10, 3))

    assert torch.isfinite(layer(torch.ones(1, 3))).all()
