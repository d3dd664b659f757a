"""Local contrast normalisation against its sums written out, at the borders too."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from training.layers import ContrastNormalisation


def by_loops(maps: Tensor, *, window: int, floor: float) -> Tensor:
    """Jarrett et al. 2009, section 2, for one image [M, H, W]: weights of a cut window sum to 1 again."""
    _, height, width = maps.shape

    def mean(values: Tensor, y: int, x: int) -> float:
        total, weights = 0.0, 0.0
        for v in range(height):
            for u in range(width):
                if max(abs(v - y), abs(u - x)) <= window // 2:
                    weight = math.exp(-((v - y) ** 2 + (u - x) ** 2) / (2 * (window / 4) ** 2))
                    total, weights = total + weight * float(values[:, v, u].mean()), weights + weight
        return total / weights

    def everywhere(values: Tensor) -> Tensor:
        return torch.tensor([[mean(values, y, x) for x in range(width)] for y in range(height)])

    centred = maps - everywhere(maps)
    return centred / everywhere(centred**2).sqrt().clamp(min=floor)


@pytest.mark.parametrize(("size", "window"), [((5, 5), 3), ((4, 7), 5), ((3, 3), 9), ((5, 4), 4), ((1, 6), 5)])
def test_it_is_its_equation_at_every_place(size: tuple[int, int], window: int) -> None:
    inputs = torch.randn(3, *size, 2)
    normalise = ContrastNormalisation(size, window=window, floor=0.4)

    normalised = normalise(inputs)

    assert normalised.shape == inputs.shape
    for image in range(2):
        expected = by_loops(inputs[..., image], window=window, floor=0.4)
        assert torch.allclose(normalised[..., image], expected, atol=1e-5)


@pytest.mark.parametrize("level", [0.0, 1.0, 1e4])
def test_a_constant_image_becomes_nothing(level: float) -> None:
    inputs = torch.full((3, 6, 6, 2), level, requires_grad=True)

    normalised = ContrastNormalisation((6, 6), window=5, floor=0.01)(inputs)
    normalised.square().sum().backward()

    assert normalised.abs().max() <= 1e-5 * max(level, 1) / 0.01
    assert inputs.grad is not None
    assert bool(torch.isfinite(inputs.grad).all())


def test_contrast_above_the_floor_makes_no_difference_and_neither_does_brightness() -> None:
    normalise = ContrastNormalisation((8, 8), window=5, floor=0.01)
    inputs = torch.randn(4, 8, 8, 2)

    assert torch.allclose(normalise(30 * inputs + 7), normalise(inputs), atol=1e-4)


def test_contrast_below_the_floor_is_not_raised() -> None:
    normalise = ContrastNormalisation((8, 8), window=5, floor=1.0)
    inputs = 1e-3 * torch.randn(4, 8, 8, 2)
    mean, contrast = normalise.statistics(inputs)

    assert torch.equal(contrast, torch.ones_like(contrast))
    assert torch.allclose(normalise(inputs), inputs - mean)


def test_what_was_taken_away_can_be_given_back() -> None:
    normalise = ContrastNormalisation((6, 7), window=5, floor=0.1)
    inputs = torch.randn(2, 6, 7, 3)
    mean, contrast = normalise.statistics(inputs)

    assert mean.shape == contrast.shape == (6, 7, 3)
    assert torch.allclose(normalise(inputs) * contrast + mean, inputs, atol=1e-5)


def test_it_has_no_weights_and_nothing_in_the_checkpoint() -> None:
    normalise = ContrastNormalisation((6, 7), window=5, floor=0.1)

    assert list(normalise.parameters()) == []
    assert normalise.state_dict() == {}
    assert "window=5, floor=0.1" in repr(normalise)
