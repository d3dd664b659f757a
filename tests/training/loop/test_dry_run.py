"""What a training would take: the time of real steps, and the memory that is free."""

from __future__ import annotations

import math

import pytest

from tests.training.fakes import (
    blobs,
    small_autoencoder_recipe,
    small_dcgan_recipe,
    small_recipe,
)
from training.config import RunConfig
from training.loop.dry_run import free_bytes, noise, time_steps
from training.recipes import Recipe


def config_of(recipe: Recipe, *, side: int = 12) -> RunConfig:
    return RunConfig.of(recipe, blobs(side=side))


@pytest.mark.parametrize(
    ("recipe", "side"), [(small_autoencoder_recipe(), 12), (small_recipe(labels=10), 6), (small_dcgan_recipe(), 32)]
)
def test_steps_are_measured_on_noise(recipe: Recipe, side: int) -> None:
    data = noise(recipe, (side, side, 1))

    found = time_steps(RunConfig.of(recipe, data), data, steps=2, counted=recipe.detects)

    assert found.steps == 2
    assert 0 < found.seconds_per_step < 60
    assert found.peak_bytes > 2**20
    assert (found.flop_per_image is None) == recipe.detects
    assert recipe.detects or (found.flop_per_image or 0) > 0


def test_noise_has_labels_only_where_they_are_needed() -> None:
    with_labels, without = noise(small_recipe(labels=40), (6, 6, 1)), noise(small_autoencoder_recipe(), (12, 12, 1))

    assert (len(with_labels), len(with_labels.classes), len(set(with_labels.labels.tolist()))) == (40, 10, 10)
    assert (without.classes, set(without.labels.tolist())) == ((), {-1})


def test_free_memory_is_known_on_linux() -> None:
    free = free_bytes(small_recipe(device="cpu"))

    assert free is None or math.log2(free) > 20
