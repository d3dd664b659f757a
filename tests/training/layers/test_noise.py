"""Gaussian noise."""

from __future__ import annotations

import pytest
import torch

from training.layers import GaussianNoise


def test_noise_is_drawn_from_the_generator_and_is_absent_without_one() -> None:
    noise = GaussianNoise(0.5)
    inputs = torch.zeros(2000)

    once = noise(inputs, torch.Generator().manual_seed(3))
    again = noise(inputs, torch.Generator().manual_seed(3))

    assert torch.equal(once, again)
    assert once.std().item() == pytest.approx(0.5, rel=0.05)
    assert noise(inputs, None) is inputs
