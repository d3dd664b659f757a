"""Stimuli among images that are as likely as photographs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.training.neurons.fakes import small_autoencoder_recipe
from training.batches import to_tensor
from training.config import RunConfig
from training.neurons.activations import fresh_network
from training.neurons.natural_stimuli import Components, natural_stimulus


def test_a_natural_stimulus_is_made_of_what_the_photographs_vary_in() -> None:
    random = np.random.default_rng(4)
    corner = np.zeros((16, 16, 3))
    corner[:8, :8] = 1
    strengths = random.standard_normal((40, 1, 1, 1))
    images = np.clip(128 + 40 * strengths * corner, 0, 255).astype(np.uint8)  # they vary in the brightness of a corner
    config = RunConfig(
        recipe="face-neuron", height=16, width=16, channels=3, classes=(), settings=small_autoencoder_recipe()
    )
    network = fresh_network(config, seed=1)

    found = natural_stimulus(network, images, stage=2, unit=5, steps=20, starts=2)

    pixels = found.direction.transpose(1, 2, 0)
    assert np.ptp(pixels[8:]) < 1e-3 and np.ptp(pixels[:8, 8:]) < 1e-3
    assert np.ptp(pixels[:8, :8]) < 1e-2
    assert abs(pixels[:8, :8].mean() - pixels[8:].mean()) > 0.01
    assert (np.diff(found.activations) >= 0).all()


def test_the_coordinates_of_a_natural_stimulus_are_as_long_as_those_of_photographs() -> None:
    random = np.random.default_rng(4)
    images = random.integers(0, 256, (60, 6, 6, 1), np.uint8)
    components = Components(images, "cpu")
    directions = torch.randn(2000, *components.shape, generator=torch.Generator().manual_seed(1))

    drawn = components(directions).flatten(1)

    pixels = to_tensor(images).flatten(1)
    assert torch.allclose(drawn.mean(dim=0), pixels.mean(dim=0), atol=0.06)
    assert float(drawn.var(dim=0).sum()) == pytest.approx(float(pixels.var(dim=0, correction=0).sum()), rel=0.05)
