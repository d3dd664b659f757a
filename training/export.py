"""A run cut down to what serving reads, to be shipped: configuration, averaged weights, card and the last samples."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from training.errors import RunError
from training.neurons.concepts import CONCEPTS_FILE, read_concepts
from training.recipes import Kind
from training.runs.card import CARD_FILE
from training.runs.checkpoint import CONFIG_FILE, SECTIONS, WEIGHTS_FILE, load_run, write_atomically

LATEST_SAMPLES = "samples/latest.png"
Precision = Literal["float32", "float16"]


def export(
    run: Path,
    folder: Path,
    *,
    only: Kind | None = None,
    precision: Precision = "float32",
) -> Path:
    """Copy what serving reads of a run into a folder that is made; returns the folder.

    What resuming needs (raw weights, moments) stays behind, so the copy can be packed but not trained further. Concepts
    come along; with float16 weights, which halve the file, they are still those that were measured with the run's own,
    so look for them in the copy once more.

    Args:
        run: the run folder.
        folder: where to; made if missing.
        only: leave the other networks behind too.
        precision: that weights are stored in; a copy is computed in float32 in either case.

    Raises:
        RunError: if the run has no sound weights, none of that network, or some too large for float16; if its concepts
            are damaged; or the folder exists and is not empty.
    """
    opened = load_run(run)
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} exists and is not empty; name another folder")
    prefixes = tuple(f"{prefix}." for prefix in (SECTIONS.values() if only is None else [SECTIONS[only]]))
    weights = {name: tensor for name, tensor in opened.weights.items() if name.startswith(prefixes)}
    if not weights:
        raise RunError(f"{run} holds no {only or 'network'} to export; its recipe is {opened.config.recipe}")
    if precision == "float16":
        weights = {name: _halved(name, tensor) for name, tensor in weights.items()}
    with_concepts = bool(read_concepts(run)) and SECTIONS["neurons"] + "." in prefixes
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / CARD_FILE, folder / CARD_FILE)
    if with_concepts:
        shutil.copyfile(run / CONCEPTS_FILE, folder / CONCEPTS_FILE)
    if (run / LATEST_SAMPLES).exists():
        (folder / LATEST_SAMPLES).parent.mkdir(exist_ok=True)
        shutil.copyfile(run / LATEST_SAMPLES, folder / LATEST_SAMPLES)
    write_atomically(folder / CONFIG_FILE, opened.config.to_json().encode())
    with safe_open(run / WEIGHTS_FILE, "pt") as file:
        write_atomically(folder / WEIGHTS_FILE, save(weights, file.metadata()))
    return folder


def _halved(name: str, tensor: Tensor) -> Tensor:
    """Round a tensor of numbers to float16; counters stay what they are."""
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if not bool(torch.isfinite(half).all()):
        raise RunError(f"{name} holds a weight that float16 cannot hold; export float32")
    return half
