"""Times a few real steps of a training; `Family.needs` counts weights, memory and computation.

Without images the steps run on noise: their time does not depend on what images show.
"""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from training.compute.acceleration import chosen_device
from training.compute.threads import resolved
from training.config import RunConfig
from training.data import UNLABELLED, LabelledImages
from training.families import family_of
from training.recipes import Recipe

NOISE_CLASSES = 10  # of noise for recipes that need labels


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTiming:
    """Time, memory and computation of real steps."""

    steps: int
    seconds_per_step: float  # median, without the first step if there are more
    peak_bytes: int  # CPU: of this process, libraries included; GPU: allocated by torch
    flop_per_image: float | None  # None if it was counted before


def time_steps(config: RunConfig, data: LabelledImages, *, steps: int, counted: bool) -> StepTiming:
    """Take and time real steps.

    Args:
        config: of the run; nothing is written.
        data: training images.
        steps: number of timed steps, >= 1.
        counted: whether the computation is known; otherwise one more step counts it.

    Raises:
        TrainingError: for the reasons of a real training.
    """
    torch.set_num_threads(int(resolved(config.settings).threads))
    device = chosen_device(config.settings)
    training = family_of(config).begin(data)
    flop = None if counted else _flop_of(training.advance) / config.settings.batch_images
    seconds = []
    for _ in range(steps):
        started_s = time.perf_counter()
        training.advance()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        seconds.append(time.perf_counter() - started_s)
    return StepTiming(
        steps=steps,
        seconds_per_step=float(np.median(seconds[1:] or seconds)),
        peak_bytes=_peak_bytes(device),
        flop_per_image=flop,
    )


def noise(recipe: Recipe, shape: tuple[int, int, int]) -> LabelledImages:
    """Return random images uint8 [N, H, W, C] of a shape (H, W, C), N enough for a step and its labels."""
    count = max(recipe.min_images, NOISE_CLASSES)
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (count, *shape), dtype=np.uint8)
    if recipe.needs_labels:
        names = tuple(map(str, range(NOISE_CLASSES)))
        return LabelledImages(images, np.arange(count) % NOISE_CLASSES, names, "noise")
    return LabelledImages(images, np.full(count, UNLABELLED), (), "noise")


def free_bytes(recipe: Recipe) -> int | None:
    """Return the free memory of a recipe's device in bytes, or None where the system does not report it."""
    device = chosen_device(recipe)
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")]
    return found[0] if found else None


def _flop_of(step: Any) -> float:
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
