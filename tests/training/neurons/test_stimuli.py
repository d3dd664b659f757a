from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.training.neurons.fakes import small_autoencoder_recipe
from training.config import RunConfig
from training.neurons.activations import fresh_network
from training.neurons.stimuli import CONTRAST, ascend, optimal_stimulus, picture, top_stimuli

SHAPE = (3, 8, 8)


def linear_filter() -> Tensor:
    drawn = torch.randn(SHAPE, generator=torch.Generator().manual_seed(3))
    length: Tensor = drawn.norm()
    return drawn / length


def test_top_stimuli_are_the_largest_first_and_ties_keep_their_order() -> None:
    activations = np.array([1.0, 5.0, 3.0, 5.0, -7.0])

    assert top_stimuli(activations, count=3).tolist() == [1, 3, 2]
    assert top_stimuli(activations, sign=-1, count=2).tolist() == [4, 0]
    assert len(top_stimuli(activations)) == 5


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("form", ["pixels", "frequencies"])
def test_the_optimal_stimulus_of_a_linear_filter_is_its_direction(form: str, sign: int) -> None:
    kernel = linear_filter()
    if form == "frequencies":  # a smooth one, which is what this form is for
        kernel = torch.fft.irfft2(torch.fft.rfft2(kernel)[:, :2, :2], s=SHAPE[1:])
        kernel /= kernel.norm()

    found = ascend(lambda images: (images * kernel).sum((1, 2, 3)), SHAPE, sign=sign, form=form, steps=400)  # type: ignore[arg-type]

    np.testing.assert_allclose(found.direction, sign * kernel.numpy(), atol=5e-3)
    assert found.activation == pytest.approx(sign * CONTRAST * np.sqrt(192), rel=1e-3)


def test_the_activation_never_falls_and_the_stimulus_has_unit_length() -> None:
    kernel = linear_filter()

    found = ascend(lambda images: (images * kernel).sum((1, 2, 3)).tanh(), SHAPE, steps=30)

    assert (np.diff(found.activations) >= 0).all()
    assert np.linalg.norm(found.direction) == pytest.approx(1, abs=1e-5)


def test_a_seed_gives_one_stimulus() -> None:
    def ripples(images: Tensor) -> Tensor:
        return (20 * images * linear_filter()).sin().sum((1, 2, 3))

    one, again, other = (ascend(ripples, SHAPE, steps=20, seed=seed).direction for seed in (1, 1, 2))

    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_dead_unit_ends_the_ascent() -> None:
    found = ascend(lambda images: 0 * images.sum((1, 2, 3)), SHAPE, steps=1000)

    assert len(found.activations) < 50
    assert found.activation == 0


def test_a_picture_has_mid_grey_for_zero_and_full_contrast() -> None:
    direction = np.array([[[0.0, 0.1], [-0.2, 0.05]]], np.float32)

    assert picture(direction)[..., 0].tolist() == [[128, 191], [0, 159]]
    assert (picture(np.zeros((3, 2, 2), np.float32)) == 128).all()


@pytest.mark.parametrize("outer", [torch.inference_mode, torch.no_grad, torch.enable_grad])
def test_a_unit_of_a_network_is_stimulated_more_than_by_noise_whatever_the_gradient_mode(outer: type) -> None:
    config = RunConfig(
        recipe="face-neuron", height=16, width=16, channels=3, classes=(), settings=small_autoencoder_recipe()
    )
    network = fresh_network(config, seed=1)

    with outer():
        found = optimal_stimulus(network, stage=2, unit=5, steps=20, starts=2)

    assert found.image.shape == (16, 16, 3)
    assert found.activation > found.activations[0]
    radius = CONTRAST * math.sqrt(3 * 16 * 16)
    again = network(torch.from_numpy(radius * found.direction)[None])[1].flatten()[5]
    assert float(again) == pytest.approx(found.activation, rel=1e-4)
