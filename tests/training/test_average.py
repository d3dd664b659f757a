"""The running average of a network's weights."""

from __future__ import annotations

import pytest
import torch

from training.average import Average


def test_the_average_loses_half_of_the_old_weights_over_its_half_life() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    average = Average(network, share=0.5)
    torch.nn.init.ones_(network.weight)

    average.update(batch_images=100, images_seen=200)  # half-life 0.5 * 200 images

    assert average.network.weight.item() == pytest.approx(0.5)


def test_an_average_without_memory_is_the_present_weights() -> None:
    network = torch.nn.Linear(2, 2)
    average = Average(network, share=0.0)
    torch.nn.init.ones_(network.weight)

    average.update(batch_images=10, images_seen=1000)

    assert torch.equal(average.network.weight, network.weight)
