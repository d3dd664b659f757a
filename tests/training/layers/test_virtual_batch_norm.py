"""Virtual batch normalisation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.layers import VirtualBatchNorm

SHAPES = [(3,), (3, 4, 5)]  # a vector, and maps of 3 channels


def normalised(inputs: Tensor, by: Tensor, epsilon: float = 1e-5) -> Tensor:
    """Normalise by the mean and variance of another batch, a feature over examples and places."""
    over = [0, *range(2, by.ndim)]
    mean, variance = by.mean(over, keepdim=True), by.var(over, correction=0, keepdim=True)
    return (inputs - mean) / (variance + epsilon).sqrt()


@pytest.mark.parametrize("shape", SHAPES)
def test_each_example_is_normalised_by_the_reference_joined_by_itself(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    norm = VirtualBatchNorm(3, reference_size=7).double()
    reference = 3 + 2 * torch.randn(7, *shape, dtype=torch.float64)
    inputs = torch.randn(4, *shape, dtype=torch.float64)

    outputs = norm(torch.cat([reference, inputs]))

    torch.testing.assert_close(outputs[:7], normalised(reference, by=reference))
    for number in range(4):
        example = inputs[number : number + 1]
        joined = torch.cat([reference, example])
        torch.testing.assert_close(outputs[7 + number : 8 + number], normalised(example, by=joined))


@pytest.mark.parametrize("shape", SHAPES)
def test_an_example_depends_on_no_other_in_train_mode(shape: tuple[int, ...]) -> None:
    norm = VirtualBatchNorm(3, reference_size=7)
    reference, inputs = torch.randn(7, *shape), torch.randn(4, *shape)

    together = norm(torch.cat([reference, inputs]))[7:]
    alone = norm(torch.cat([reference, inputs[:1]]))[7:]

    torch.testing.assert_close(together[:1], alone)


@pytest.mark.parametrize("shape", SHAPES)
def test_eval_mode_gives_what_train_mode_gave(shape: tuple[int, ...]) -> None:
    norm = VirtualBatchNorm(3, reference_size=7)
    reference, inputs = torch.randn(7, *shape), torch.randn(4, *shape)
    trained = norm(torch.cat([reference, inputs]))[7:]

    fresh = VirtualBatchNorm(3, reference_size=7)
    fresh.load_state_dict(norm.state_dict())

    torch.testing.assert_close(norm.eval()(inputs), trained)
    torch.testing.assert_close(fresh.eval()(inputs[:1]), trained[:1])


def test_calls_leave_nothing_behind_that_changes_the_next() -> None:
    norm = VirtualBatchNorm(3, reference_size=7)
    reference, inputs = torch.randn(7, 3), torch.randn(4, 3)

    first = norm(torch.cat([reference, inputs]))
    norm(torch.cat([reference, 9 * torch.randn(4, 3)]))
    third = norm(torch.cat([reference, inputs]))

    assert torch.equal(first, third)


def test_channels_are_normalised_over_places_and_not_each_place_alone() -> None:
    norm = VirtualBatchNorm(3, reference_size=7)
    reference = torch.randn(7, 3, 4, 5)
    reference[:, :, 0, 0] += 10  # a place that is brighter stays brighter

    outputs = norm(torch.cat([reference, torch.zeros(1, 3, 4, 5)]))[:7]

    assert norm.mean.shape == (3,)
    assert outputs[:, :, 0, 0].mean() > 2


@pytest.mark.parametrize("shape", SHAPES)
def test_gradient_through_the_reference_is_that_of_finite_differences(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    norm = VirtualBatchNorm(3, reference_size=4, affine="scale and shift").double()
    inputs = torch.randn(6, *shape[:1], *[2] * (len(shape) - 1), dtype=torch.float64, requires_grad=True)

    assert torch.autograd.gradcheck(norm, inputs)


def test_far_from_zero_the_variance_does_not_cancel() -> None:
    torch.manual_seed(0)
    norm = VirtualBatchNorm(3, reference_size=50)
    values = torch.randn(60, 3)

    near, far = norm(values), norm(values + 4096)

    torch.testing.assert_close(near, far, atol=0.01, rtol=0)


@pytest.mark.parametrize(("affine", "names"), [("shift", ["shift"]), ("scale and shift", ["shift", "scale"])])
def test_shift_and_scale_follow(affine: str, names: list[str]) -> None:
    norm = VirtualBatchNorm(2, reference_size=100, affine="shift" if affine == "shift" else "scale and shift")
    scale = 1.0
    with torch.no_grad():
        norm.shift.fill_(5.0)
        if norm.scale is not None:
            norm.scale.fill_(3.0)
            scale = 3.0

    outputs = norm(torch.randn(100, 2))

    assert [name for name, _ in norm.named_parameters()] == names
    torch.testing.assert_close(outputs.mean(0), torch.full((2,), 5.0))
    torch.testing.assert_close(outputs.std(0, correction=0), torch.full((2,), scale), atol=1e-3, rtol=0)
