"""`mintage score`: how good samples are, beside real images that are scored the same way.

mintage score runs/ssgan-digits                              # 10,000 samples of a run against the test digits
mintage score var/output/jobs/01kat7x2m9q3zc5d digits        # the images of a sample job
mintage score images/ digits --parzen --nearest sheet.png    # a folder of PNG files
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import FAILED, JsonOption, console, errors_console, fail, friendly_errors, print_json, table

if TYPE_CHECKING:
    from rich.progress import Progress

    from service.cli.score_samples import Report, Samples
    from training.data import LabelledImages
    from training.features import DigitFeatures
    from training.scores.comparison import Comparison
    from training.scores.parzen import ParzenScore

EXTRACTOR = Path(__file__).parents[2] / "models" / "digit-features"


class SplitChoice(StrEnum):
    """Which real images to compare with."""

    train = "train"
    test = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """The scores of one set of images."""

    images: int
    comparison: Comparison
    parzen: ParzenScore | None = None


def score(
    samples: Annotated[
        Path,
        typer.Argument(
            help="A run folder, a sample job's output folder, or a folder of PNG files.", show_default=False
        ),
    ],
    reference: Annotated[
        str, typer.Argument(help="Real images: `digits`, or a folder as `mintage train --data` reads it.")
    ] = "digits",
    *,
    count: Annotated[
        int | None,
        typer.Option("-n", "--count", min=1, help="Samples to score.", show_default="all; 10000 of a run"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed of a run's samples and of random subsets.")] = 0,
    split: Annotated[SplitChoice, typer.Option(help="Which real images to compare with.")] = SplitChoice.test,
    extractor: Annotated[
        Path, typer.Option(help="Folder of the feature extractor.", show_default="the one that ships with Mintage")
    ] = EXTRACTOR,
    parzen: Annotated[
        bool, typer.Option("--parzen", help="Add the Parzen log-likelihood of 2014, which ranks models badly.")
    ] = False,
    nearest: Annotated[
        Path | None,
        typer.Option(metavar="SHEET.png", help="Write a sheet of samples and the training images nearest to them."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Score samples, with real training images scored the same way beside them.

    Classifier score, Frechet distance, kernel distance, precision, recall, density and coverage, all over the features
    of one extractor; they can be compared only with values by the same extractor on as many images.
    """
    if nearest is not None and nearest.suffix.lower() != ".png":
        fail(f"--nearest {nearest}: must end in .png")
    with friendly_errors(), _progress() as progress:
        sees = _extractor(extractor)
        real = _real(reference, split.value, sees, needs_test=parzen)
        chosen = _samples(samples, count, seed, sees, progress)
        result = _scored(chosen, real, sees, seed=seed, parzen=parzen, progress=progress)
        if nearest is not None:
            _write_sheet(chosen, real, nearest)
    if as_json:
        print_json({**_values(result), "nearest": None if nearest is None else str(nearest)})
    else:
        _print(result)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(score)


@dataclass(frozen=True, slots=True)
class _Real:
    """The real images: those to compare with, and the training images if they are others."""

    name: str
    compared: LabelledImages
    train: LabelledImages
    test: LabelledImages | None


@dataclass(frozen=True, slots=True)
class _Result:
    """Everything there is to print; `theirs` are the scores of the training images, if they were scored."""

    samples: Samples
    real: _Real
    sees: DigitFeatures
    ours: Scored
    theirs: Scored | None


def _extractor(folder: Path) -> DigitFeatures:
    from training.features import DigitFeatures

    return DigitFeatures.load(folder)


def _real(source: str, split: str, sees: DigitFeatures, *, needs_test: bool) -> _Real:
    """Load the real images."""
    from training.data import has_split, load
    from training.errors import DataError

    channels = sees.config.channels
    if not has_split(source, "test") and (split == "test" or needs_test):
        wanted = "--parzen needs one" if needs_test else "give --split train"
        raise DataError(f"{source} has no test split; {wanted}")
    train = load(source, "train", channels=channels)
    test = load(source, "test", channels=channels) if has_split(source, "test") else None
    return _Real(f"{source} {split}", test if split == "test" and test else train, train, test)


def _samples(path: Path, count: int | None, seed: int, sees: DigitFeatures, progress: Progress) -> Samples:
    """Read or generate the samples."""
    from handlers.errors import HandlerError
    from service.cli import score_samples

    if not score_samples.is_run(path):
        return score_samples.read(path, count=count, channels=sees.config.channels)
    wanted = count or score_samples.FROM_A_RUN
    report = _task(progress, "generating", wanted)
    try:
        return score_samples.generate(path, count=wanted, seed=seed, shape=sees.config.image_shape, report=report)
    except HandlerError as error:
        fail(str(error), FAILED)


def _scored(
    chosen: Samples, real: _Real, sees: DigitFeatures, *, seed: int, parzen: bool, progress: Progress
) -> _Result:
    """Score the samples, and as many training images beside them unless it is these that they are compared with."""
    from training.scores.comparison import compare
    from training.scores.conditions import Conditions

    conditions = Conditions(extractor=sees.sha256, reference=real.name)
    sets = [chosen.images] if real.train is real.compared else [chosen.images, real.train.images[: len(chosen)]]
    report = _task(progress, "looking", len(real.compared) + sum(map(len, sets)))
    expected = sees(real.compared.images, report=report).features
    seen = [sees(images, report=report) for images in sets]
    step = _task(progress, "comparing", len(sets))
    scored = []
    for images, each in zip(sets, seen, strict=True):
        compared = compare(expected, each.features, each.probabilities, seed=seed, conditions=conditions)
        scored.append(Scored(images=len(images), comparison=compared))
        step(1)
    if parzen:
        scored = _with_parzen(scored, chosen, real, progress)
    return _Result(chosen, real, sees, scored[0], scored[1] if len(scored) > 1 else None)


def _with_parzen(scored: list[Scored], chosen: Samples, real: _Real, progress: Progress) -> list[Scored]:
    """Add the Parzen log-likelihood, for training images without those that sigma is chosen on."""
    from training.scores.parzen import hold_out, parzen_log_likelihood

    assert real.test is not None  # noqa: S101 - checked when it was loaded
    training, validation = hold_out(real.train.images)
    sets = [chosen.images, training[: len(chosen)]][: len(scored)]
    report = _task(progress, "Parzen windows", len(sets) * (len(validation) + len(real.test)))
    reference = f"{real.test.name} test"
    values = [
        parzen_log_likelihood(images, validation, real.test.images, reference=reference, report=report)
        for images in sets
    ]
    return [dataclasses.replace(each, parzen=value) for each, value in zip(scored, values, strict=True)]


def _write_sheet(chosen: Samples, real: _Real, path: Path) -> None:
    from training.scores.nearest import nearest_sheet

    sheet = nearest_sheet(chosen.images, real.train.images)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def _values(result: _Result) -> dict[str, Any]:
    """Return what `--json` prints of the scores."""
    samples, real, sees = result.samples, result.real, result.sees
    return {
        "samples": {"source": samples.source, "images": len(samples), "seed": samples.seed},
        "reference": {"name": real.name, "images": len(real.compared)},
        "extractor": {"sha256": sees.sha256, "test_accuracy": sees.config.test_accuracy, "data": sees.config.data_name},
        "scores": dataclasses.asdict(result.ours),
        "training_images": None if result.theirs is None else dataclasses.asdict(result.theirs),
    }


def _print(result: _Result) -> None:
    samples, real, sees, ours, theirs = result.samples, result.real, result.sees, result.ours, result.theirs
    columns = ["score", f"{ours.images:,} samples", "better"]
    cells = [_cells(ours)]
    if theirs is not None:
        columns.insert(2, f"{theirs.images:,} training")
        cells.append(_cells(theirs))
    better = _better(len(sees.config.classes))
    rows = [(name, *(each[name] for each in cells), better[name]) for name in cells[0]]
    console().print(table(columns, rows, right=columns[1:-1]))
    seed = "" if samples.seed is None else f", seed {samples.seed}"
    shares = ours.comparison.shares
    typer.echo(
        f"samples of {samples.source}{seed}; reference {real.name}, {len(real.compared):,} images; extractor "
        f"{sees.sha256[:12]}; k = {shares.neighbours}; {ours.comparison.kernel.subsets} subsets of "
        f"{ours.comparison.kernel.subset_size:,}; nothing was resized"
    )
    for each in (ours.parzen, theirs.parzen if theirs else None):
        if each is not None:
            typer.echo(str(each))


def _cells(scored: Scored) -> dict[str, str]:
    """Write every value in a few digits."""
    found, shares = scored.comparison, scored.comparison.shares
    cells = {
        "classifier score": f"{found.classifier.mean:.3f} ± {found.classifier.std:.3f}",
        "Frechet distance": f"{found.frechet.value:.3f}",
        "kernel distance": f"{found.kernel.mean:.5f} ± {found.kernel.std:.5f}",
        "precision": f"{shares.precision:.4f}",
        "recall": f"{shares.recall:.4f}",
        "density": f"{shares.density:.4f}",
        "coverage": f"{shares.coverage:.4f}",
    }
    if scored.parzen is not None:
        cells["Parzen, nats"] = f"{scored.parzen.mean:.1f} ± {scored.parzen.standard_error:.1f}"
    return cells


def _better(classes: int) -> dict[str, str]:
    """Say of every score which way is better."""
    return {
        "classifier score": f"higher, at most {classes}",
        "Frechet distance": "lower, near 0",
        "kernel distance": "lower, around 0",
        "precision": "higher, at most 1",
        "recall": "higher, at most 1",
        "density": "higher, about 1",
        "coverage": "higher, at most 1",
        "Parzen, nats": "higher, with care",
    }


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    """Show bars on stderr while there is work, if that is a terminal."""
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    stderr = errors_console()
    with progress.Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as bars:
        yield bars


def _task(progress: Progress, name: str, total: int) -> Report:
    """Add a bar; the returned function moves it on."""
    task = progress.add_task(name, total=total)
    return lambda more: progress.advance(task, more)
