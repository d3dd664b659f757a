"""Random streams, and the latents drawn from them."""

from __future__ import annotations

import itertools

import pytest
import torch

from training.latents import draw_latents
from training.randomness import stream
from training.recipes import LatentDistribution


def test_the_same_seed_purpose_and_count_give_the_same_numbers() -> None:
    assert torch.equal(
        torch.rand(5, generator=stream(3, "noise", images_seen=100)),
        torch.rand(5, generator=stream(3, "noise", images_seen=100)),
    )


def test_any_other_seed_purpose_or_count_gives_other_numbers() -> None:
    streams = (
        stream(3, "noise", images_seen=100),
        stream(4, "noise", images_seen=100),
        stream(3, "noise"),
        stream(3, "x"),
    )

    drawn = [torch.rand(5, generator=generator) for generator in streams]

    assert not any(torch.equal(one, other) for one, other in itertools.combinations(drawn, 2))


@pytest.mark.parametrize(
    ("distribution", "mean", "std"), [("uniform01", 0.5, 12**-0.5), ("uniform11", 0.0, 3**-0.5), ("normal", 0.0, 1.0)]
)
def test_latents_have_the_moments_of_their_distribution(
    distribution: LatentDistribution, mean: float, std: float
) -> None:
    latents = draw_latents(1000, 20, distribution=distribution, generator=stream(1, "latents"))

    assert latents.shape == (1000, 20)
    assert latents.mean().item() == pytest.approx(mean, abs=0.03)
    assert latents.std().item() == pytest.approx(std, abs=0.03)
