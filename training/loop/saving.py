"""Writes what a training leaves in its run folder: checkpoints, and pictures between them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from training.errors import RunError
from training.families import Family
from training.families.training import Training
from training.loop.progress import Progress
from training.runs import checkpoint, metrics
from training.runs.card import write_card
from training.runs.checkpoint import State
from training.runs.samples import write_curves, write_latest, write_samples

SHOWN_SAMPLES = 100  # in a picture


def save(training: Training, family: Family[Any], run: Path, progress: Progress, *, test_images: int) -> None:
    """Write a checkpoint with its samples, metrics and card.

    Raises:
        RunError: if it cannot be written; the last one is kept.
        DivergedError: if a weight is not finite; the last one is kept.
    """
    try:
        _write_checkpoint(training, family, run, progress, test_images=test_images)
    except OSError as error:
        raise RunError(
            f"the checkpoint of {run} after {progress.images_seen} images cannot be written "
            f"({error.strerror or error}): {kept(run)}; make room and run the same command again"
        ) from None


def show(training: Training, run: Path) -> None:
    """Draw samples/latest.png. A full disk stops no training here: the next checkpoint tells of it."""
    training.calibrate()
    try:
        write_latest(run, training.samples(SHOWN_SAMPLES))
    except OSError:
        return


def kept(run: Path) -> str:
    """Say what there is of a run that cannot go on."""
    return "its last checkpoint is kept" if (run / checkpoint.STATE_FILE).exists() else "nothing was saved yet"


def _write_checkpoint(
    training: Training, family: Family[Any], run: Path, progress: Progress, *, test_images: int
) -> None:
    training.calibrate()
    state = State(training.state(), training.images_seen, progress.seconds)
    checkpoint.save_state(run, training.config, weights=training.weights(), state=state)
    metrics.append(run, dataclasses.asdict(progress))
    write_samples(run, training.samples(SHOWN_SAMPLES), images_seen=training.images_seen)
    write_curves(run)
    write_card(
        run,
        training.config,
        images_seen=progress.images_seen,
        seconds=progress.seconds,
        own_rows=family.card_rows(test_accuracy=progress.test_accuracy, test_images=test_images),
        pictures=family.PICTURES,
    )
