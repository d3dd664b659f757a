"""Loads a run's autoencoder, and computes the activations of its units on images."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from training.batches import to_tensor
from training.config import RunConfig
from training.errors import DataError, RecipeError, RunError
from training.families import family_of
from training.networks.sparse_autoencoder import SparseAutoencoder
from training.progress import Report
from training.randomness import fresh_weights
from training.runs.checkpoint import WEIGHTS_FILE, Run, load_config, load_run, served_weights

BATCH = 64  # images per forward pass, which bounds the memory
IN_MEMORY_BYTES = 2**30  # of one stage's activations; more are kept in a temporary file


@dataclass(frozen=True, slots=True, eq=False)
class LoadedRun:
    """A run's autoencoder in eval mode."""

    run: Run
    network: SparseAutoencoder

    @property
    def config(self) -> RunConfig:
        """The run's configuration."""
        return self.run.config

    def must_fit(self, images: NDArray[np.uint8], name: str) -> None:
        """Raise DataError if images uint8 [N, H, W, C] are not of the network's shape."""
        height, width, channels = images.shape[1:]
        if (channels, height, width) != self.config.image_shape:
            raise DataError(
                f"{name} has images of {[height, width, channels]} (H, W, C), but {self.run.path} takes "
                f"{[self.config.height, self.config.width, self.config.channels]}; load them with its size and channels"
            )

    def must_have(self, stage: int, unit: int) -> None:
        """Raise RunError if the network has no such stage, from 1, or unit, from 0."""
        shapes = self.network.unit_shapes
        if not 1 <= stage <= len(shapes):
            raise RunError(f"{self.run.path} has no stage {stage}; its stages are 1 to {len(shapes)}")
        units = int(np.prod(shapes[stage - 1]))
        if not 0 <= unit < units:
            raise RunError(f"stage {stage} of {self.run.path} has no unit {unit}; its units are 0 to {units - 1}")


def load_autoencoder_run(run: Path, *, device: torch.device | str = "cpu") -> LoadedRun:
    """Load the autoencoder of a run folder.

    Raises:
        RunError: if the folder is missing, damaged, not trained yet, or its weights do not fit.
        RecipeError: if its recipe trains no autoencoder.
    """
    config = load_config(run)
    network = family_of(config).autoencoder()
    if not config.settings.detects:
        raise RecipeError(f"{run} is a {config.recipe}; search the run of the autoencoder that it was made of")
    loaded = load_run(run)
    try:
        network.load_state_dict(served_weights(loaded, "neurons"))
    except RuntimeError as error:
        raise RunError(f"{run / WEIGHTS_FILE} does not fit the network: {' '.join(str(error).split())}") from None
    return LoadedRun(loaded, network.requires_grad_(False).eval().to(device))


def fresh_network(config: RunConfig, *, seed: int, device: torch.device | str = "cpu") -> SparseAutoencoder:
    """Return a run's network with the initial weights of a training with that seed."""
    with fresh_weights(seed):
        return family_of(config).autoencoder().requires_grad_(False).eval().to(device)


@torch.inference_mode()
def activations_of(
    network: SparseAutoencoder, images: NDArray[np.uint8], *, report: Report = lambda _: None
) -> list[NDArray[np.float32]]:
    """Return the activations [N, U] of each stage on images uint8 [N, H, W, C]; units are flattened [M, H', W']."""
    device = next(network.parameters()).device
    found = [_empty(len(images), int(np.prod(shape))) for shape in network.unit_shapes]
    for start in range(0, len(images), BATCH):
        chunk = to_tensor(images[start : start + BATCH]).to(device)
        for rows, units in zip(found, network(chunk), strict=True):
            rows[start : start + len(chunk)] = units.flatten(1).cpu().numpy()
        report(len(chunk))
    return found


@torch.inference_mode()
def seen_images(network: SparseAutoencoder, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Map images uint8 [N, H, W, C] to the first stage's input, float32 [N, C, H, W]."""
    device = next(network.parameters()).device
    chunks = (to_tensor(images[start : start + BATCH]).to(device) for start in range(0, len(images), BATCH))
    return np.concatenate([network.inputs(chunk).permute(3, 0, 1, 2).cpu().numpy() for chunk in chunks])


def _empty(images: int, units: int) -> NDArray[np.float32]:
    """Return an empty array [images, units]; a large one is mapped from a temporary file, deleted after use."""
    if 4 * images * units <= IN_MEMORY_BYTES:
        return np.empty((images, units), np.float32)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=(images, units))
