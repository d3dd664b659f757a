"""Reports the progress of a training: JSON lines, a progress bar, plain lines, or event files for TensorBoard."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from service.cli.json_lines import print_json

if TYPE_CHECKING:
    from rich.console import RenderableType

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
        yield lambda progress: print_json(dataclasses.asdict(progress))
    elif sys.stdout.isatty():
        with _bar(recipe) as report:
            yield report
    else:
        print(f"training {recipe.name}: {recipe.images:,} images", flush=True)
        yield _plain_lines(recipe)


@contextlib.contextmanager
def _bar(recipe: Recipe) -> Iterator[Report]:
    """Draw a progress bar with count, images per second and time left, and below it the losses.

    Losses have a line of their own: beside the bar they would push the others out of 80 columns.
    """
    from rich import progress as rich_progress
    from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
    from rich.table import Column
    from rich.text import Text

    class Remaining(ProgressColumn):
        """Time until the run is finished, or until its time is up."""

        ends_s = time.monotonic() + recipe.max_seconds

        def render(self, task: Task) -> Text:
            guesses = (task.time_remaining, max(self.ends_s - time.monotonic(), 0.0))
            left_s = min((guess for guess in guesses if guess is not None), default=math.inf)
            if not math.isfinite(left_s):
                return Text("--:--")
            minutes, seconds = divmod(round(left_s), 60)
            return Text(
                f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if minutes >= 60 else f"{minutes:02}:{seconds:02}"
            )

    whole = Column(no_wrap=True)
    columns = (
        BarColumn(bar_width=None, table_column=Column(ratio=1, min_width=6)),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f}", table_column=whole),
        TextColumn("{task.fields[speed]}", table_column=whole),
        Remaining(table_column=whole),
    )

    class Bar(rich_progress.Progress):
        """The bar, and a line of text below it."""

        below = recipe.name

        def get_renderables(self) -> Iterator[RenderableType]:
            yield self.make_tasks_table(self.tasks)
            yield self.below

    with Bar(*columns, expand=True) as bar:
        task = bar.add_task(recipe.name, total=recipe.images, speed="")

        def report(progress: Progress) -> None:
            speed = f"{progress.images_per_second:,.0f} images/s"
            bar.below = f"{recipe.name}: {_measured(progress)}"
            bar.update(task, completed=progress.images_seen, speed=speed)

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


def _plain_lines(recipe: Recipe) -> Report:
    """Print a line every few seconds, and at the end; where its time is up before the run is finished, when."""
    last_s = time.monotonic()
    ends_s = last_s + recipe.max_seconds

    def report(progress: Progress) -> None:
        nonlocal last_s
        if time.monotonic() - last_s < PLAIN_INTERVAL_S and progress.images_seen < progress.images:
            return
        last_s = time.monotonic()
        left_s = max(progress.images - progress.images_seen, 0) / max(progress.images_per_second, 1e-9)
        time_s = max(ends_s - last_s, 0.0)
        left = f"{left_s:.0f} s left" if left_s <= time_s else f"its time is up in {time_s:.0f} s"
        print(
            f"{progress.images_seen:,} of {progress.images:,} images, {progress.images_per_second:,.0f} images/s, "
            f"{left}, {_measured(progress)}",
            flush=True,
        )

    return report


def _measured(progress: Progress) -> str:
    """Write losses and accuracy as text."""
    words = [f"{name} {value:.3f}" for name, value in (progress.losses or {}).items()]
    if progress.test_accuracy is not None:
        words.append(f"test accuracy {100 * progress.test_accuracy:.1f} %")
    return ", ".join(words)
