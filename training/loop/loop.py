"""The training loop: counts images, reports, checkpoints, and resumes to the bit.

train(RECIPES["ssgan-digits"], load("digits", "train"), Path("runs/ssgan-digits"), test=load("digits", "test"))
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from training.compute import parallel
from training.compute.acceleration import chosen_device
from training.compute.threads import resolved
from training.config import RunConfig
from training.data import LabelledImages
from training.errors import DataError, DivergedError, RunError
from training.families import Family, family_of
from training.families.training import Training
from training.recipes import Recipe
from training.runs import checkpoint, metrics
from training.runs.card import write_card
from training.runs.checkpoint import State
from training.runs.samples import write_accuracy, write_samples
from training.steps.step import Losses

Ending = Literal["finished", "out of time", "stopped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Progress of a run; also a line of metrics.jsonl."""

    images_seen: int
    images: int  # length of the run
    images_per_second: float  # since this start
    seconds: float  # of training, including earlier starts
    losses: Losses | None  # of the latest step of this start
    test_accuracy: float | None  # of the averaged classifier, in [0, 1]; only at checkpoints, only with a classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How one start of a training ended."""

    run: Path
    ended: Ending
    images_seen: int
    images: int  # length of the run
    steps: int
    seconds: float  # of training, including earlier starts
    test_accuracy: float | None  # of the averaged classifier, in [0, 1]


def train(
    recipe: Recipe,
    data: LabelledImages,
    run: Path,
    *,
    test: LabelledImages | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Summary:
    """Train a recipe in a run folder, resuming from its last checkpoint if there is one.

    Several processes (see `training.compute.parallel`) must be given the same arguments. Only the first one writes,
    reports and measures, and only its `should_stop` and clock count.

    A start takes one step at least, however late: so every run that was not stopped has a checkpoint.

    Sets the process's number of torch threads to the run's, and cuDNN to deterministic algorithms.

    Args:
        recipe: what to train.
        data: the training images.
        run: the run folder, created if missing.
        test: images that the accuracy is measured on; they are not trained on.
        report: called every `recipe.report_images` images and at each checkpoint.
        should_stop: called before each step; once it returns True, the run is checkpointed and ends.

    Raises:
        DataError: if the images do not fit the recipe, or the test images do not fit the training images.
        RunError: if the folder belongs to another training or is damaged.
        RecipeError: if this machine lacks what the recipe needs, or the batches cannot be divided among the processes.
        DivergedError: if a loss or weight is no longer finite; the last good checkpoint stays.
    """
    parallel.join(chosen_device(recipe))
    started_s = time.monotonic()
    _must_fit(data, test)
    recipe = resolved(recipe, parallel.first(lambda: _begun(run)))
    torch.set_num_threads(int(recipe.threads))
    torch.backends.cudnn.deterministic = True  # on a GPU too, a resumed run equals a straight one
    config = RunConfig.of(recipe, data)
    _must_agree(config)
    family = family_of(config)
    training = family.begin(data)
    state = parallel.first(lambda: _open_run(run, config))
    if state.images_seen:
        training.restore(state.tensors, state.images_seen)
    saved = state.images_seen
    accuracy = parallel.first(lambda: training.accuracy(test)) if test and saved else None

    def reason_to_end() -> Ending | None:
        elapsed_s = time.monotonic() - started_s if training.images_seen > state.images_seen else 0.0
        return _reason_to_end(recipe, training.images_seen, elapsed_s, should_stop)

    def save() -> float | None:
        measured = training.accuracy(test) if test else None
        _save(training, family, run, progress(measured=measured), test_images=len(test) if test else 0)
        report(progress(measured=measured))
        return measured

    def note() -> None:
        metrics.append(run, dataclasses.asdict(progress()))
        report(progress())

    def progress(*, measured: float | None = None) -> Progress:
        elapsed_s = time.monotonic() - started_s
        return Progress(
            images_seen=training.images_seen,
            images=recipe.images,
            images_per_second=(training.images_seen - state.images_seen) / max(elapsed_s, 1e-9),
            seconds=state.seconds + elapsed_s,
            losses=training.losses,
            test_accuracy=measured,
        )

    ended: Ending | None = None
    while ended is None:
        # Step, unless there is a reason to end.
        before = training.images_seen
        ended = parallel.first(reason_to_end)
        if ended is None:
            _advance(training, run)
        # Checkpoint at every multiple of the interval, and at the end unless that was one.
        if saved < training.images_seen and (
            ended is not None or _passed(before, training.images_seen, recipe.checkpoint_images)
        ):
            training.collect()
            accuracy = parallel.first(save)
            saved = training.images_seen
        # Report.
        elif _passed(before, training.images_seen, recipe.report_images):
            parallel.first(note)
    return Summary(
        run=run,
        ended=ended,
        images_seen=training.images_seen,
        images=recipe.images,
        steps=training.images_seen // recipe.batch_images,
        seconds=progress().seconds,
        test_accuracy=accuracy,
    )


def _must_fit(data: LabelledImages, test: LabelledImages | None) -> None:
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


def _must_agree(config: RunConfig) -> None:
    """Refuse processes that were given different trainings.

    Raises:
        RunError: in all processes, if any differs from the first.
    """
    differences = checkpoint.differences(parallel.first(lambda: config), config)
    for number, found in enumerate(parallel.everyone(differences)):
        if found:
            raise RunError(f"process {number} was given another training than the first ({'; '.join(found)})")


def _begun(run: Path) -> Recipe | None:
    """Return the recipe of the training that a folder holds; None if it holds none."""
    return checkpoint.load_config(run).settings if (run / checkpoint.CONFIG_FILE).exists() else None


def _open_run(run: Path, config: RunConfig) -> State:
    """Create the run folder, or check that it holds this training, and return where it stands."""
    if (run / checkpoint.CONFIG_FILE).exists():
        existing = checkpoint.load_config(run)
        differences = checkpoint.differences(existing, config)
        if differences:
            raise RunError(f"{run} holds another training ({'; '.join(differences)}); choose another --run folder")
    elif run.exists() and (not run.is_dir() or any(run.iterdir())):
        raise RunError(f"{run} exists and is not a run folder; choose a new or empty one")
    checkpoint.save_config(run, config)
    state = checkpoint.load_state(run, config) or State({}, 0, 0.0)
    metrics.forget_after(run, state.images_seen)
    return state


def _reason_to_end(
    recipe: Recipe, images_seen: int, elapsed_s: float, should_stop: Callable[[], bool]
) -> Ending | None:
    """Return why the run should end now, or None."""
    if images_seen >= recipe.images:
        return "finished"
    if should_stop():
        return "stopped"
    return "out of time" if elapsed_s > recipe.max_seconds else None


def _passed(before: int, after: int, interval: int) -> bool:
    """Return whether a multiple of the interval lies in (before, after]."""
    return after // interval > before // interval


def _advance(training: Training, run: Path) -> None:
    """Take one step; if it diverges, explain what was kept and what to do."""
    try:
        training.advance()
    except DivergedError as error:
        kept = "its last good checkpoint is kept" if (run / checkpoint.STATE_FILE).exists() else "nothing was saved yet"
        raise DivergedError(f"{error}: {kept}; try lower rates or another seed in another run folder") from None


def _save(training: Training, family: Family[Any], run: Path, progress: Progress, *, test_images: int) -> None:
    """Write a checkpoint with its samples, metrics and card."""
    try:
        _write_checkpoint(training, family, run, progress, test_images=test_images)
    except OSError as error:
        kept = "its last checkpoint is kept" if (run / checkpoint.STATE_FILE).exists() else "nothing was saved yet"
        raise RunError(
            f"the checkpoint of {run} after {progress.images_seen} images cannot be written "
            f"({error.strerror or error}): {kept}; make room and run the same command again"
        ) from None


def _write_checkpoint(
    training: Training, family: Family[Any], run: Path, progress: Progress, *, test_images: int
) -> None:
    training.calibrate()
    state = State(training.state(), training.images_seen, progress.seconds)
    checkpoint.save_state(run, training.config, weights=training.weights(), state=state)
    metrics.append(run, dataclasses.asdict(progress))
    write_samples(run, training.samples(100), images_seen=training.images_seen)
    write_accuracy(run)
    write_card(
        run,
        training.config,
        images_seen=progress.images_seen,
        seconds=progress.seconds,
        own_rows=family.card_rows(test_accuracy=progress.test_accuracy, test_images=test_images),
        pictures=family.PICTURES,
    )
