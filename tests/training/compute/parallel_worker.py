"""What each of the two processes of test_parallel.py does: train every form, then try what must end alike."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed

from tests.training.fakes import (
    blobs,
    small_adversarial_recipe,
    small_autoencoder_recipe,
    small_dcgan_recipe,
    small_recipe,
)
from training.compute.sharding import own_share
from training.config import RunConfig
from training.errors import TrainingError
from training.families import family_of
from training.families.autoencoder_training import AutoencoderTraining
from training.families.gan import GanTraining
from training.loop.loop import train
from training.networks.sparse_autoencoder import SparseAutoencoder
from training.recipes import Recipe

FORMS: dict[str, tuple[Recipe, int]] = {
    "k-plus-one": (small_recipe(), 6),
    "minibatch-discrimination": (small_recipe(minibatch_kernels=4, generator_loss="non-saturating"), 6),
    "virtual-batch-norm": (small_recipe(generator_norm="virtual", generator_steps=2, historical_averaging=0.1), 6),
    "without-labels": (small_recipe(labels=0), 6),
    "adversarial-nets": (small_adversarial_recipe(), 6),
    "dcgan": (small_dcgan_recipe(), 32),
    "conditional-dcgan": (small_dcgan_recipe(conditional="yes", discriminator_steps=2), 32),
    "autoencoder": (small_autoencoder_recipe(schedule="jointly"), 12),
    "autoencoder-apart": (small_autoencoder_recipe(schedule="apart"), 12),
    "autoencoder-greedily": (small_autoencoder_recipe(schedule="greedily"), 12),
    "sharded": (small_autoencoder_recipe(schedule="jointly", sharding="yes"), 12),
    "sharded-apart": (small_autoencoder_recipe(schedule="apart", sharding="yes"), 12),
    "sharded-greedily": (small_autoencoder_recipe(schedule="greedily", sharding="yes"), 12),
}


def reported_at_every_step(recipe: Recipe) -> Recipe:
    """In float32 on a CPU, so that only the order of sums differs."""
    step = recipe.batch_images
    return recipe.overridden(
        {"images": 5 * step, "report_images": step, "checkpoint_images": 5 * step, "device": "cpu", "threads": 1}
        | {"precision": "float32", "memory_format": "contiguous"}
    )


def train_all(folder: Path) -> None:
    """Train every form."""
    for name, (recipe, side) in FORMS.items():
        train(reported_at_every_step(recipe), blobs(side=side), folder / name, test=blobs(30, side=side, seed=1))


def outcomes(folder: Path) -> dict[str, str]:
    """Try what must end alike in both processes, and return how it did."""
    recipe, data = reported_at_every_step(small_recipe()), blobs()
    is_first = distributed.get_rank() == 0
    told: dict[str, str] = {}

    answers = [True, False, False] if is_first else [False] * 99
    told["stopped"] = train(recipe, data, folder / "stopped", should_stop=answers.pop).ended

    late = recipe.overridden({"max_seconds": 0.0}) if is_first else recipe
    told["out of time"] = train(late, data, folder / "late").ended

    told["uneven"] = error_of(reported_at_every_step(small_recipe(unlabelled_batch=9)), folder / "uneven")
    told["other"] = error_of(recipe if is_first else recipe.overridden({"seed": 5}), folder / "other")

    sharded, free = (
        reported_at_every_step(small_autoencoder_recipe(schedule="jointly", sharding=sharding))
        for sharding in ("yes", "no")
    )
    told["sharded"], told["whole"] = shares(sharded), shares(free)
    for name, begun in (("sharded first", sharded), ("sharded last", free)):
        stop = [True, False, False].pop if is_first else never
        train(begun, blobs(side=12), folder / name, should_stop=stop)
    train(sharded, blobs(side=12), folder / "sharded last")

    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.loop.saving.write_samples", full_disk)
        told["full disk"] = error_of(recipe, folder / "full")

    advance = GanTraining.advance

    def poisoned(training: GanTraining) -> object:
        if training.images_seen == 16 and not is_first:
            with torch.no_grad():
                training.weights()["discriminator.output.bias"].fill_(math.nan)
        return advance(training)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(GanTraining, "advance", poisoned)
        told["diverged"] = error_of(recipe, folder / "diverged")
    return told


def never() -> bool:
    return False


def shares(recipe: Recipe) -> str:
    """Say which part of the weights, of both moments and of a batch this process has."""
    training = family_of(RunConfig.of(recipe, blobs(side=12))).begin(blobs(side=12))
    assert isinstance(training, AutoencoderTraining)
    rows: list[int] = []
    inputs = SparseAutoencoder.inputs

    def counted(network: SparseAutoencoder, images: Tensor) -> Tensor:
        rows.append(len(images))
        return inputs(network, images)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SparseAutoencoder, "inputs", counted)
        training.advance()
    held = {**training.network.state_dict(), **training.player.state()}
    found = [
        sum(own_share(tensor).numel() for name, tensor in held.items() if name.endswith(end))
        / sum(tensor.numel() for name, tensor in held.items() if name.endswith(end))
        for end in ("weight", "exp_avg", "exp_avg_sq")
    ]
    return json.dumps([*found, *(count / recipe.batch_images for count in rows)])


def error_of(recipe: Recipe, run: Path) -> str:
    """Return the error of a training."""
    try:
        train(recipe, blobs(), run)
    except TrainingError as error:
        return f"{type(error).__name__}: {error}"
    return "none"


if __name__ == "__main__":
    target = Path(sys.argv[1])
    train_all(target)
    (target / f"outcomes-{distributed.get_rank()}.json").write_text(json.dumps(outcomes(target)))
