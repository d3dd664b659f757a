"""Exports the part of a run that serving reads: configuration, averaged weights, card and the latest samples."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from training.errors import RunError
from training.neurons.concepts import CONCEPTS_FILE, read_concepts
from training.recipes import Kind
from training.runs.card import CARD_FILE
from training.runs.checkpoint import CONFIG_FILE, SCALE, SECTIONS, WEIGHTS_FILE, load_run, write_atomically

LATEST_SAMPLES = "samples/latest.png"
Precision = Literal["float32", "float16"]


def export(
    run: Path,
    folder: Path,
    *,
    only: Kind | None = None,
    precision: Precision = "float32",
    discriminator: Literal["float", "int8"] = "float",
) -> Path:
    """Copy what serving reads of a run into a new folder, and return the folder.

    Raw weights and optimiser state are left out: the copy can be packed, but not trained further. Concepts are copied.
    float16 halves the file; as the concepts were measured with the run's own weights, search such a copy again.

    Args:
        run: the run folder.
        folder: destination, created if missing; must be empty.
        only: the one kind of network to export; None exports all. A discriminator comes with its generator.
        precision: of the stored weights; serving computes in float32 in either case.
        discriminator: "int8" stores the weights of a discriminator's layers in 8 bits, each unit's as multiples of a
            256th of its range: enough for explaining and inverting, where no score is computed from them.

    Raises:
        RunError: if the run's weights or concepts are missing or damaged, it has no such network, a weight exceeds the
            range of float16, or the folder is not empty.
    """
    opened = load_run(run)
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} exists and is not empty; name another folder")
    kinds = get_args(Kind) if only is None else (only,)
    prefixes = tuple(f"{prefix}." for kind in kinds for prefix in SECTIONS[kind].values())
    weights = {name: tensor for name, tensor in opened.weights.items() if name.startswith(prefixes)}
    if not weights:
        raise RunError(f"{run} holds no {only or 'network'} to export; its recipe is {opened.config.recipe}")
    small = _rounded(weights) if discriminator == "int8" else {}
    rest = {name: tensor for name, tensor in weights.items() if name not in small}
    if precision == "float16":
        rest = {name: _halved(name, tensor) for name, tensor in rest.items()}
    weights = {**rest, **small}
    with_concepts = bool(read_concepts(run)) and "neurons" in kinds
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


def _rounded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Round the weights of the averaged discriminator's layers to 8 bits; each unit has a scale of its own."""
    prefix = SECTIONS["discriminator"]["discriminator."] + "."
    found = {}
    for name, tensor in weights.items():
        if name.startswith(prefix) and tensor.ndim > 1 and tensor.is_floating_point():
            scale = tensor.flatten(1).abs().amax(dim=1) / 127
            steps = scale.clamp(min=torch.finfo(torch.float32).tiny).view(-1, *[1] * (tensor.ndim - 1))
            found[name] = (tensor / steps).round().to(torch.int8)
            found[name + SCALE] = scale
    return found


def _halved(name: str, tensor: Tensor) -> Tensor:
    """Round a floating-point tensor to float16; integer counters are unchanged."""
    if not tensor.is_floating_point():
        return tensor
    half = tensor.half()
    if not bool(torch.isfinite(half).all()):
        raise RunError(f"{name} holds a weight that float16 cannot hold; export float32")
    return half
