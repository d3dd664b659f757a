"""Reports the progress of a training: JSON lines, a progress bar, plain lines, or event files for TensorBoard."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.loop.progress import Progress
    from training.recipes import Recipe

Report = Callable[["Progress"], None]
PLAIN_INTERVAL_S = 5.0  # between two lines in a log


@contextlib.contextmanager
def reporter(recipe: Recipe, *, as_json: bool) -> Iterator[Report]:
    """Report as JSON lines, as a progress bar on a terminal, or as a plain line every few seconds."""
    if not is_first_process():
        yield lambda _: None
    elif as_json:
        yield lambda progress: print(json.dumps(dataclasses.asdict(progress)), flush=True)
    elif sys.stdout.isatty():
        with _bar(recipe) as report:
            yield report
    else:
        print(f"training {recipe.name}: {recipe.images:,} images", flush=True)
        yield _plain_lines()


@contextlib.contextmanager
def _bar(recipe: Recipe) -> Iterator[Report]:
    """Draw a progress bar with images per second, time left and losses."""
    from rich import progress as rich_progress
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[losses]}"),
    )
    with rich_progress.Progress(*columns) as bar:
        task = bar.add_task(recipe.name, total=recipe.images, speed="", losses="")

        def report(progress: Progress) -> None:
            speed = f"{progress.images_per_second:,.0f} images/s"
            bar.update(task, completed=progress.images_seen, speed=speed, losses=_measured(progress))

        yield report


@contextlib.contextmanager
def tensorboard_reporter(run: Path, *, wanted: bool) -> Iterator[Report]:
    """Report to TensorBoard's event files, if requested."""
    if not wanted:
        yield lambda _: None
        return
    from training.loop.tensorboard import event_files

    with event_files(run) as report:
        yield report


def both(one: Report, other: Report) -> Report:
    """Return a report that calls two others."""

    def report(progress: Progress) -> None:
        one(progress)
        other(progress)

    return report


def is_first_process() -> bool:
    """Return whether this process prints: the only one, or the first that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def _plain_lines() -> Report:
    """Print a line every few seconds, and at the end."""
    last_s = time.monotonic()

    def report(progress: Progress) -> None:
        nonlocal last_s
        if time.monotonic() - last_s < PLAIN_INTERVAL_S and progress.images_seen < progress.images:
            return
        last_s = time.monotonic()
        left_s = (progress.images - progress.images_seen) / max(progress.images_per_second, 1e-9)
        print(
            f"{progress.images_seen:,} of {progress.images:,} images, {progress.images_per_second:,.0f} images/s, "
            f"{left_s:.0f} s left, {_measured(progress)}",
            flush=True,
        )

    return report


def _measured(progress: Progress) -> str:
    """Write losses and accuracy as text."""
    words = [f"{name} {value:.3f}" for name, value in (progress.losses or {}).items()]
    if progress.test_accuracy is not None:
        words.append(f"test accuracy {100 * progress.test_accuracy:.1f} %")
    return ", ".join(words)
