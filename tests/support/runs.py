"""Run folders with tiny networks, made in a blink: random weights, nothing trained."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.training.fakes import small_autoencoder_recipe, small_recipe
from training.config import RunConfig
from training.families import family_of
from training.neurons.concepts import Concept, write_concepts
from training.runs import checkpoint
from training.runs.checkpoint import State

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
        networks = {"generator": family_of(config).generator(), "discriminator": family_of(config).classifier()}
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


def concept(name: str, **fields: Any) -> Concept:
    """A concept of unit 7 of the second stage, unless said otherwise."""
    values: dict[str, Any] = {
        "name": name,
        "stage": 2,
        "unit": 7,
        "sign": 1,
        "threshold": 0.0,
        "slope": 2.0,
        "intercept": 0.5,
        "accuracy": 0.8,
        "accuracy_low": 0.7,
        "accuracy_high": 0.9,
        "auroc": 0.85,
        "positives": 40,
        "distractors": 60,
    }
    return Concept(**{**values, **fields})


CONCEPTS = (concept("dots"), concept("bars", stage=3, unit=0, sign=-1, threshold=-0.1))


def tiny_autoencoder(folder: Path, *, concepts: Sequence[Concept] = CONCEPTS) -> Path:
    """Write the run folder of an autoencoder of grey 12 x 12 images; without concepts it has no file of them."""
    recipe = small_autoencoder_recipe()
    config = RunConfig(recipe=recipe.name, height=12, width=12, channels=1, classes=("x",), settings=recipe)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = family_of(config).autoencoder()
    weights = {f"autoencoder.{name}": tensor.detach().clone() for name, tensor in network.state_dict().items()}
    checkpoint.save_config(folder, config)
    checkpoint.save_state(folder, config, weights=weights, state=State({}, 0, 0.0))
    (folder / "card.md").write_text("# A tiny autoencoder\n", encoding="utf-8")
    if concepts:
        write_concepts(folder, concepts)
    return folder
