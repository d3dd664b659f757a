"""The layers."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from training.layers import GaussianNoise, Scale, ShiftOnlyBatchNorm, WeightNormLinear


def test_weight_normalised_layer_is_the_linear_layer_of_the_normalised_weight() -> None:
    layer = WeightNormLinear(4, 3, scale="trained")
    torch.nn.init.uniform_(layer.scale)
    torch.nn.init.uniform_(layer.bias)
    inputs = torch.randn(5, 4)

    weight = layer.scale[:, None] * layer.direction / layer.direction.norm(dim=1, keepdim=True)

    torch.testing.assert_close(layer(inputs), functional.linear(inputs, weight, layer.bias))


def test_weight_normalised_layer_has_the_gradient_of_finite_differences() -> None:
    layer = WeightNormLinear(4, 3, scale="trained", direction_std=1.0).double()
    inputs = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def outputs(inputs: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = torch.func.functional_call(layer, dict(zip(names, weights, strict=True)), (inputs,))
        return result

    assert torch.autograd.gradcheck(outputs, (inputs, *layer.parameters()))


@pytest.mark.parametrize(("scale", "gets_gradient"), [("trained", True), ("frozen", False)])
def test_only_a_trained_scale_gets_a_gradient(scale: Scale, gets_gradient: bool) -> None:
    layer = WeightNormLinear(4, 3, scale=scale)

    layer(torch.randn(5, 4)).sum().backward()

    assert (layer.scale.grad is not None) == gets_gradient
    assert layer.direction.grad is not None


def test_data_dependent_initialisation_gives_every_unit_mean_zero_and_variance_one() -> None:
    torch.manual_seed(0)
    layer = WeightNormLinear(20, 8, scale="frozen")
    inputs = 3 + 5 * torch.randn(500, 20)

    returned = layer.initialise_from(inputs)

    outputs = layer(inputs)
    torch.testing.assert_close(outputs, returned, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(outputs.mean(0), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs.var(0, correction=0), torch.ones(8), atol=1e-4, rtol=0)


def test_initialisation_from_constant_inputs_stays_finite() -> None:
    layer = WeightNormLinear(3, 2, scale="frozen")

    layer.initialise_from(torch.ones(10, 3))

    assert torch.isfinite(layer(torch.ones(1, 3))).all()


def test_noise_is_drawn_from_the_generator_and_is_absent_without_one() -> None:
    noise = GaussianNoise(0.5)
    inputs = torch.zeros(2000)

    once = noise(inputs, torch.Generator().manual_seed(3))
    again = noise(inputs, torch.Generator().manual_seed(3))

    assert torch.equal(once, again)
    assert once.std().item() == pytest.approx(0.5, rel=0.05)
    assert noise(inputs, None) is inputs


def test_shift_only_batch_norm_normalises_and_shifts() -> None:
    norm = ShiftOnlyBatchNorm(2)
    with torch.no_grad():
        norm.shift.copy_(torch.tensor([1.0, -1.0]))

    outputs = norm(torch.randn(100, 2) * 7 + 3)

    torch.testing.assert_close(outputs.mean(0), torch.tensor([1.0, -1.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(outputs.std(0, correction=0), torch.ones(2), atol=1e-3, rtol=0)
    assert [name for name, _ in norm.named_parameters()] == ["shift"]
