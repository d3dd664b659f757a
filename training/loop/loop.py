"""The training loop: counts images, reports, checkpoints, and resumes to the bit.

train(RECIPES["ssgan-digits"], load("digits", "train"), Path("runs/ssgan-digits"), test=load("digits", "test"))
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch

from training.compute import parallel
from training.compute.acceleration import chosen_device
from training.compute.threads import resolved
from training.config import Loading, RunConfig
from training.data import LabelledImages
from training.errors import DivergedError
from training.families import family_of
from training.families.training import Training
from training.loop.opening import Say, begun, create_folder, mend, must_agree, must_fit, open_run
from training.loop.progress import Progress
from training.loop.saving import kept, save, show
from training.recipes import Recipe
from training.runs import metrics
from training.runs.lock import locked

Ending = Literal["finished", "out of time", "stopped"]


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


class _Turn(NamedTuple):
    """What the first process decides before a step, for all."""

    ended: Ending | None
    saves: bool = False  # whether it is time for a checkpoint after the step
    shows: bool = False  # whether it is time for a picture


def train(
    recipe: Recipe,
    data: LabelledImages,
    run: Path,
    *,
    loading: Loading | None = None,
    test: LabelledImages | None = None,
    report: Callable[[Progress], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
    say: Say = lambda _: None,
) -> Summary:
    """Train a recipe in a run folder, resuming from its last checkpoint if there is one.

    Several processes (see `training.compute.parallel`) must be given the same arguments. Only the first one writes,
    reports and measures, and only its `should_stop` and clock count.

    A start takes one step at least, however late: so every run that was not stopped has a checkpoint.

    Checkpoints and pictures come by images seen and by time. They read the training and change nothing in it, so a run
    has the same weights however often they come.

    Sets the process's number of torch threads to the run's, and cuDNN to deterministic algorithms.

    Args:
        recipe: what to train.
        data: the training images.
        run: the run folder, created if missing, and locked for this training.
        loading: how they were loaded, recorded so that the run can be repeated.
        test: images that the accuracy is measured on; they are not trained on.
        report: called every `recipe.report_images` images and at each checkpoint.
        should_stop: called before each step; once it returns True, the run is checkpointed and ends.
        say: called with a sentence if the run gets another length or its folder was mended.

    Raises:
        DataError: if the images do not fit the recipe, or the test images do not fit the training images.
        RunError: if the folder belongs to another training or is damaged, if another process trains in it, if it has
            weights that training would overwrite, or if it cannot get the length.
        RecipeError: if this machine lacks what the recipe needs, or the batches cannot be divided among the processes.
        DivergedError: if a loss or weight is no longer finite; the last good checkpoint stays.
    """
    parallel.join(chosen_device(recipe))
    started_s = time.monotonic()
    must_fit(data, test)
    recipe = resolved(recipe, parallel.first(lambda: begun(run)))
    torch.set_num_threads(int(recipe.threads))
    torch.backends.cudnn.deterministic = True  # on a GPU too, a resumed run equals a straight one
    config = RunConfig.of(recipe, data, loading)
    must_agree(config)
    training = family_of(config).begin(data)
    with contextlib.ExitStack() as held:
        parallel.first(lambda: _lock(run, held))
        state = parallel.first(lambda: open_run(run, config, say=say))
        if state.images_seen:
            training.restore(state.tensors, state.images_seen)
        mend(run, training, state, say=say)
        loop = _Loop(training, run, started_s, earlier_s=state.seconds, test=test, report=report)
        return loop.run_to_its_end(should_stop)


class _Loop:
    """One start of a training, from where its checkpoint left it.

    Args:
        training: restored.
        run: its folder, open and locked.
        started_s: when this start began, by the monotonic clock.
        earlier_s: what earlier starts took.
        test: see `train`.
        report: see `train`.
    """

    def __init__(
        self,
        training: Training,
        run: Path,
        started_s: float,
        *,
        earlier_s: float,
        test: LabelledImages | None,
        report: Callable[[Progress], None],
    ) -> None:
        self._training = training
        self._recipe = training.config.settings
        self._family = family_of(training.config)
        self._run = run
        self._started_s = started_s
        self._earlier_s = earlier_s
        self._from = training.images_seen
        self._test = test
        self._report = report
        self._saved = training.images_seen
        self._saved_s = self._shown_s = time.monotonic()

    def run_to_its_end(self, should_stop: Callable[[], bool]) -> Summary:
        """Take steps until there is a reason to end."""
        training, recipe, test = self._training, self._recipe, self._test
        accuracy = parallel.first(lambda: training.accuracy(test)) if test and self._saved else None
        ended: Ending | None = None
        while ended is None:
            # Step, unless there is a reason to end.
            before = training.images_seen
            turn = parallel.first(lambda: self._turn(should_stop))
            ended = turn.ended
            if ended is None:
                self._advance()
            # Checkpoint at every multiple of the interval, when it is time, and at the end unless that was one.
            by_images = _passed(before, training.images_seen, recipe.checkpoint_images)
            if self._saved < training.images_seen and (ended is not None or turn.saves or by_images):
                training.collect()
                accuracy = parallel.first(self._save)
                self._saved = training.images_seen
                continue
            if turn.shows:
                training.collect()
                parallel.first(self._show)
            # Report.
            if ended is None and _passed(before, training.images_seen, recipe.report_images):
                parallel.first(self._note)
        return Summary(
            run=self._run,
            ended=ended,
            images_seen=training.images_seen,
            images=recipe.images,
            steps=training.images_seen // recipe.batch_images,
            seconds=self._progress().seconds,
            test_accuracy=accuracy,
        )

    def _turn(self, should_stop: Callable[[], bool]) -> _Turn:
        """Decide what comes next; in the first process."""
        now_s, recipe = time.monotonic(), self._recipe
        elapsed_s = now_s - self._started_s if self._training.images_seen > self._from else 0.0
        ended = _reason_to_end(recipe, self._training.images_seen, elapsed_s, should_stop)
        if ended is not None:
            return _Turn(ended)
        saves = now_s - self._saved_s >= recipe.checkpoint_seconds
        return _Turn(None, saves=saves, shows=now_s - self._shown_s >= recipe.sample_seconds)

    def _advance(self) -> None:
        """Take one step; if it diverges, explain what was kept and what to do."""
        try:
            self._training.advance()
        except DivergedError as error:
            raise DivergedError(
                f"{error}: {kept(self._run)}; try lower rates or another seed in another run folder"
            ) from None

    def _save(self) -> float | None:
        """Write a checkpoint, and return the accuracy."""
        test = self._test
        measured = self._training.accuracy(test) if test else None
        progress = self._progress(measured=measured)
        save(self._training, self._family, self._run, progress, test_images=len(test) if test else 0)
        self._report(self._progress(measured=measured))
        self._saved_s = self._shown_s = time.monotonic()
        return measured

    def _show(self) -> None:
        show(self._training, self._run)
        self._shown_s = time.monotonic()

    def _note(self) -> None:
        metrics.append(self._run, dataclasses.asdict(self._progress()))
        self._report(self._progress())

    def _progress(self, *, measured: float | None = None) -> Progress:
        training = self._training
        trained = training.images_seen - self._from
        elapsed_s = time.monotonic() - self._started_s if trained else 0.0  # opening a finished run is no training
        return Progress(
            images_seen=training.images_seen,
            images=self._recipe.images,
            images_per_second=trained / max(elapsed_s, 1e-9),
            seconds=self._earlier_s + elapsed_s,
            losses=training.losses,
            test_accuracy=measured,
        )


def _lock(run: Path, held: contextlib.ExitStack) -> None:
    """Create the run folder and lock it until the stack is left; in the first process."""
    create_folder(run)
    held.enter_context(locked(run))


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
