"""Run folders with tiny networks, made in a blink: random weights, nothing trained."""

from __future__ import annotations

from pathlib import Path

import torch

from tests.training.fakes import small_recipe
from training import checkpoint
from training.checkpoint import RunConfig, State
from training.networks import build_classifier, build_generator

HEIGHT, WIDTH, CHANNELS, CLASSES = 6, 5, 2, ("nought", "one", "two")


def tiny_config(**fields: object) -> RunConfig:
    """Return the configuration of a run of tiny networks; fields override the recipe's."""
    recipe = small_recipe(**fields)
    return RunConfig(
        recipe=recipe.name,
        height=HEIGHT,
        width=WIDTH,
        channels=CHANNELS,
        classes=CLASSES,
        latent_size=recipe.latent_size,
        latent_distribution=recipe.latent_distribution,
        settings=recipe,
    )


def tiny_run(folder: Path, *, seed: int = 1, config: RunConfig | None = None) -> Path:
    """Write a whole run folder and return its path."""
    config = config or tiny_config()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        networks = {"generator": build_generator(config), "discriminator": build_classifier(config)}
    weights = {
        f"{name}{average}.{key}": tensor.detach().clone()
        for name, network in networks.items()
        for average in ("", "_average")
        for key, tensor in network.state_dict().items()
    }
    checkpoint.save_config(folder, config)
    checkpoint.save_state(folder, config, weights=weights, state=State({}, 0, 0.0))
    (folder / "card.md").write_text("# A tiny run\n", encoding="utf-8")
    return folder
