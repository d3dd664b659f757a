"""What a training would take, before it is begun: weights, memory, computation, and the time of a few real steps.

Counting allocates nothing, for networks are built on torch's meta device, where tensors have shapes and no numbers.
Steps are taken on noise where there are no images: how long one takes does not depend on what they show.
"""

from __future__ import annotations

import math
import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from training.compute.acceleration import chosen_device
from training.config import RunConfig
from training.data import UNLABELLED, LabelledImages
from training.loop.training import begin
from training.networks import build_autoencoder, build_discriminator, build_generator
from training.recipes import AdversarialNetsRecipe, Recipe

FLOAT_BYTES = 4  # weights, gradients and moments are float32 whatever `precision` says
NOISE_CLASSES = 10


@dataclass(frozen=True, slots=True)
class Part:
    """A network, or a stage of one."""

    name: str
    units: int  # numbers that it puts out for one image
    weights: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a training needs by count, on one process."""

    parts: tuple[Part, ...]
    weights: int
    weight_bytes: int
    gradient_bytes: int
    moment_bytes: int  # of the optimiser
    average_bytes: int  # of the running averages of weights
    activation_bytes: int | None  # kept of a batch for the gradient; None where only a step can tell
    flop_per_image: float | None  # forward and backward, a multiplication and an addition being two; None likewise

    @property
    def total_bytes(self) -> int:
        """All of it at once."""
        held = self.weight_bytes + self.gradient_bytes + self.moment_bytes + self.average_bytes
        return held + (self.activation_bytes or 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What real steps took."""

    steps: int
    seconds_per_step: float  # the median; the first is left out if there are more
    peak_bytes: int  # of this process on the CPU, libraries included; of what torch allocated on a GPU
    flop_per_image: float | None  # None where it was counted already


def needs(config: RunConfig) -> Needs:
    """Count what a training needs, without allocating it.

    Raises:
        DataError: if the networks do not fit the images.
    """
    recipe = config.settings
    with torch.device("meta"):
        networks = _networks(config)
    parts = _stages(networks["autoencoder"]) if recipe.detects else _parts(networks, config)
    held = FLOAT_BYTES * sum(part.weights for part in parts)
    greedily = getattr(recipe, "schedule", "") == "greedily"
    activations, flop = _counted(networks["autoencoder"], config) if recipe.detects else (None, None)
    return Needs(
        parts=parts,
        weights=sum(part.weights for part in parts),
        weight_bytes=held,
        gradient_bytes=FLOAT_BYTES * max(part.weights for part in parts) if greedily else held,
        moment_bytes=held if isinstance(recipe, AdversarialNetsRecipe) else 2 * held,  # momentum; or Adam
        average_bytes=0 if recipe.detects else held,
        activation_bytes=activations,
        flop_per_image=flop,
    )


def measured(config: RunConfig, data: LabelledImages, *, steps: int, counted: bool) -> Measured:
    """Take some real steps.

    Args:
        config: of the run that it would be; nothing is written.
        data: training images.
        steps: how many are timed, >= 1.
        counted: whether the computation is known; else one more step is taken to count it.

    Raises:
        TrainingError: as a training does.
    """
    torch.set_num_threads(config.settings.threads)
    device = chosen_device(config.settings)
    training = begin(config, data)
    flop = None if counted else _flop_of(training.advance) / config.settings.batch_images
    seconds = []
    for _ in range(steps):
        started_s = time.perf_counter()
        training.advance()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started_s)
    return Measured(
        steps=steps,
        seconds_per_step=float(np.median(seconds[1:] or seconds)),
        peak_bytes=_peak_bytes(device),
        flop_per_image=flop,
    )


def noise(recipe: Recipe, shape: tuple[int, int, int]) -> LabelledImages:
    """Return random images of a shape (H, W, C), as many as a step and its labels need."""
    count = max(recipe.batch_images, getattr(recipe, "labels", 0), NOISE_CLASSES)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, *shape), dtype=np.uint8)
    if recipe.needs_labels:
        names = tuple(map(str, range(NOISE_CLASSES)))
        return LabelledImages(images, np.arange(count) % NOISE_CLASSES, names, "noise")
    return LabelledImages(images, np.full(count, UNLABELLED), (), "noise")


def free_bytes(recipe: Recipe) -> int | None:
    """Return how much memory is free on a recipe's device, None where this machine does not say."""
    device = chosen_device(recipe)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else None


def _networks(config: RunConfig) -> dict[str, nn.Module]:
    if config.settings.detects:
        return {"autoencoder": build_autoencoder(config)}
    return {"generator": build_generator(config), "discriminator": build_discriminator(config)}


def _parts(networks: dict[str, nn.Module], config: RunConfig) -> tuple[Part, ...]:
    """Describe the two players of a GAN."""
    units = {"generator": math.prod(config.image_shape), "discriminator": max(len(config.classes), 1)}
    return tuple(Part(name, units[name], _weights(network)) for name, network in networks.items())


def _stages(network: Any) -> tuple[Part, ...]:
    """Describe an autoencoder's stages."""
    return tuple(
        Part(f"stage {number}", math.prod(stage.shape), _weights(stage))
        for number, stage in enumerate(network.stages, start=1)
    )


def _weights(network: nn.Module) -> int:
    return sum(weight.numel() for weight in network.parameters())


def _counted(network: Any, config: RunConfig) -> tuple[int, float]:
    """Return what a batch's activations take, in bytes, and the computation of an image, in FLOP.

    All stages learn; greedily it is less.
    """
    recipe: Any = config.settings
    kept: dict[int, torch.UntypedStorage] = {}  # by address, which no other takes while this one is held

    def note(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    images = torch.empty(recipe.batch, *config.image_shape, device="meta")
    with FlopCounterMode(display=False) as counter:
        with saved_tensors_hooks(note, lambda tensor: tensor):
            losses = network.learn(images, through=recipe.schedule == "jointly")
        torch.stack([part for loss in losses for part in loss]).sum().backward()  # type: ignore[no-untyped-call]
    for tensor in (*network.parameters(), *network.buffers()):
        kept.pop(tensor.untyped_storage()._cdata, None)
    return sum(storage.nbytes() for storage in kept.values()), counter.get_total_flops() / recipe.batch


def _flop_of(step: Any) -> float:
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
