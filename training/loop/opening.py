"""Opens a run folder for a training: images that fit, one training at a time, and nothing there that would be lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from training.compute import parallel
from training.config import FREE, RunConfig
from training.data import LabelledImages
from training.errors import DataError, RunError
from training.families.training import Training
from training.recipes import Recipe
from training.runs import checkpoint, metrics
from training.runs.checkpoint import State

Say = Callable[[str], None]


def must_fit(data: LabelledImages, test: LabelledImages | None) -> None:
    """Refuse malformed images, and test images whose size or classes differ from the training images'."""
    for kind, split in (("training", data), ("test", test)):
        if split is not None:
            _must_be_images(kind, split)
    if test is None:
        return
    if test.shape != data.shape:
        raise DataError(f"test images are {list(test.shape)} (H, W, C), but training images {list(data.shape)}")
    if test.classes != data.classes[: len(test.classes)]:
        raise DataError(f"test images have the classes {test.classes}, but training images {data.classes}")


def must_agree(config: RunConfig) -> None:
    """Refuse processes that were given different trainings.

    Raises:
        RunError: in all processes, if any differs from the first.
    """
    differences = checkpoint.differences(parallel.first(lambda: config), config)
    for number, found in enumerate(parallel.everyone(differences)):
        if found:
            raise RunError(f"process {number} was given another training than the first ({'; '.join(found)})")


def begun(run: Path) -> Recipe | None:
    """Return the recipe of the training that a folder holds; None if it holds none."""
    return checkpoint.load_config(run).settings if (run / checkpoint.CONFIG_FILE).exists() else None


def create_folder(run: Path) -> None:
    """Create the run folder, or check that it may be one.

    Raises:
        RunError: if it holds something else.
    """
    if (run / checkpoint.CONFIG_FILE).exists():
        return
    if run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise RunError(f"{run} exists and is not a run folder; choose a new or empty one")
    run.mkdir(parents=True, exist_ok=True)


def open_run(run: Path, config: RunConfig, *, say: Say) -> State:
    """Check that a locked folder holds this training or nothing, write its configuration, and return where it stands.

    Raises:
        RunError: if it holds another training, cannot have the length, or has weights that training would overwrite.
    """
    existing = checkpoint.load_config(run) if (run / checkpoint.CONFIG_FILE).exists() else config
    differences = checkpoint.differences(existing, config, free={*FREE, "images"})
    if differences:
        raise RunError(f"{run} holds another training ({'; '.join(differences)}); choose another --run folder")
    state = checkpoint.load_state(run, config)
    if state is None and (run / checkpoint.WEIGHTS_FILE).exists():
        raise RunError(
            f"{run} holds weights but no {checkpoint.STATE_FILE}, from which a training goes on: it was exported, or "
            "that file was deleted. Training here would overwrite the weights from the first step: choose another "
            "--run folder"
        )
    state = state or State({}, 0, 0.0)
    _must_have_length(run, existing.settings, config.settings, state, say)
    checkpoint.save_config(run, config)
    metrics.forget_after(run, state.images_seen)
    return state


def mend(run: Path, training: Training, state: State, *, say: Say) -> None:
    """Write the weights again from the state if they are missing or older, as a crash or a person may leave them.

    Every process calls it, with the training at that state.
    """
    if not state.images_seen or not parallel.first(lambda: checkpoint.weights_are_behind(run, state)):
        return
    training.collect()

    def write() -> None:
        checkpoint.save_weights(run, training.config, weights=training.weights(), state=state)
        say(f"{run / checkpoint.WEIGHTS_FILE} was missing or old: written from {checkpoint.STATE_FILE}")

    parallel.first(write)


def _must_have_length(run: Path, existing: Recipe, wanted: Recipe, state: State, say: Say) -> None:
    """Refuse another length if a run of that length would have taken other steps up to here."""
    if wanted.images == existing.images or not state.images_seen:
        return
    if wanted.images < state.images_seen:
        raise RunError(
            f"{run} has seen {state.images_seen:,} images already, more than {wanted.images:,}: give --images "
            f"{existing.images} or more, or choose another --run folder"
        )
    reason = existing.schedule_by_length()
    if reason is not None:
        raise RunError(
            f"{run} is a run of {existing.images:,} images and cannot become one of {wanted.images:,}: "
            f"{reason}, so the longer run would have begun differently; choose another --run "
            "folder"
        )
    say(
        f"{run} becomes a run of {wanted.images:,} images, of {existing.images:,} before; {state.images_seen:,} are "
        "done. It will equal a run of that length from the start"
    )


def _must_be_images(kind: str, data: LabelledImages) -> None:
    """Refuse what only a direct caller could pass: no images, floats, labels outside the classes."""
    pixels, labels, last = data.images, data.labels, len(data.classes) - 1
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or not len(pixels):
        raise DataError(
            f"{kind} images are {pixels.dtype} {list(pixels.shape)}, expected uint8 [N, H, W, C] with N >= 1"
        )
    if labels.shape != (len(pixels),):
        raise DataError(f"{kind} labels are {list(labels.shape)} for {len(pixels)} images; give one per image")
    lowest, highest = (-1, -1) if last < 0 else (0, last)
    if labels.min() < lowest or labels.max() > highest:
        wrong = labels[(labels < lowest) | (labels > highest)][0]
        raise DataError(
            f"a {kind} image has the label {wrong}, expected {lowest}..{highest}: there are {last + 1} classes"
        )
