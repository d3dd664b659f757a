"""Exports the part of a run that serving reads: configuration, averaged weights, card and the latest samples."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal, get_args

import torch
from safetensors import safe_open
from torch import Tensor

from training.batches import RealBatches
from training.data import LabelledImages
from training.errors import DataError, RunError
from training.families import family_of
from training.networks.dcgan import Discriminator
from training.neurons.concepts import CONCEPTS_FILE, read_concepts
from training.recipes import Kind
from training.runs.card import CARD_FILE, portable_card
from training.runs.checkpoint import CONFIG_FILE, SCALE, SECTIONS, WEIGHTS_FILE, Run, load_run, section
from training.runs.files import encoded, write_atomically
from training.steps.adversarial import CALIBRATION_IMAGES

LATEST_SAMPLES = "samples/latest.png"
Precision = Literal["float32", "float16"]


def export(
    run: Path,
    folder: Path,
    *,
    only: Kind | None = None,
    precision: Precision = "float32",
    discriminator: Literal["float", "int8"] = "float",
    real: LabelledImages | None = None,
) -> Path:
    """Copy what serving reads of a run into a new folder, and return the folder.

    Raw weights and optimiser state are left out: the copy can be packed, but not trained further. Concepts are copied.
    Local paths, and how long the training took, stay behind too.
    float16 halves the file; as the concepts were measured with the run's own weights, search such a copy again.

    Args:
        run: the run folder.
        folder: destination, created if missing; must be empty.
        only: the one kind of network to export; None exports all. A discriminator comes with its generator.
        precision: of the stored weights; serving computes in float32 in either case.
        discriminator: "int8" stores the weights of a discriminator's layers in 8 bits, each unit's as multiples of a
            256th of its range: enough for explaining and inverting, where no score is computed from them.
        real: training images, on which the batch statistics of a DCGAN's averaged discriminator are computed anew.
            Runs from before they were stored need this.

    Raises:
        DataError: if the real images are not those of the run.
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
    if real is not None:
        weights |= _calibrated(opened, real)
    small = _rounded(weights) if discriminator == "int8" else {}
    rest = {name: tensor for name, tensor in weights.items() if name not in small}
    if precision == "float16":
        rest = {name: _halved(name, tensor) for name, tensor in rest.items()}
    weights = {**rest, **small}
    with_concepts = bool(read_concepts(run)) and "neurons" in kinds
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / CARD_FILE, portable_card((run / CARD_FILE).read_text(encoding="utf-8")).encode())
    if with_concepts:
        shutil.copyfile(run / CONCEPTS_FILE, folder / CONCEPTS_FILE)
    if (run / LATEST_SAMPLES).exists():
        (folder / LATEST_SAMPLES).parent.mkdir(exist_ok=True)
        shutil.copyfile(run / LATEST_SAMPLES, folder / LATEST_SAMPLES)
    write_atomically(folder / CONFIG_FILE, opened.config.portable().to_json().encode())
    with safe_open(run / WEIGHTS_FILE, "pt") as file:
        write_atomically(folder / WEIGHTS_FILE, encoded(weights, file.metadata()))
    return folder


def _calibrated(run: Run, real: LabelledImages) -> dict[str, Tensor]:
    """Return the averaged discriminator with the batch statistics of real images."""
    config, prefix = run.config, SECTIONS["discriminator"]["discriminator."]
    network = family_of(config).discriminator()
    if not isinstance(network, Discriminator):
        raise RunError(f"{config.recipe} has no batch statistics of real images to compute")
    if real.sha256() != config.data_sha256:
        raise DataError(f"{real.name} does not hold the images that {run.path} was trained on")
    network.load_state_dict(section(run.weights, prefix))
    batch = RealBatches(real, seed=config.settings.seed, batch=CALIBRATION_IMAGES).some(CALIBRATION_IMAGES)
    network.calibrate_statistics(batch.images, batch.labels if config.condition_classes else None)
    return {f"{prefix}.{name}": tensor for name, tensor in network.state_dict().items()}


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
