"""Measures what `mintage score` prints: loads samples and real images, extracts features, and compares them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.cli.console import FAILED, fail
from service.cli.data_options import load_split, load_splits
from service.cli.scores import errors as judging
from service.cli.scores import samples as loading
from service.cli.scores.table import Real, Result, SetScores

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from rich.progress import Progress

    from service.cli.scores.samples import Report, Samples
    from training.data import Options, Split
    from training.extractors.digits import Extractor
    from training.scores.parzen import ParzenScore


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreArguments:
    """The arguments of the command."""

    samples: Path
    reference: str
    split: Split
    options: Options
    count: int | None
    seed: int
    parzen: bool


def classifier_errors(arguments: ScoreArguments, progress: Progress) -> judging.ClassifierErrors:
    """Count the errors of a run's classifier on images of the run's shape."""
    from training.errors import ScoreError
    from training.runs.checkpoint import load_config

    config = load_config(arguments.samples)
    height, width, channels = shape = config.height, config.width, config.channels
    _check_splits(arguments)
    options = _filled(arguments.options, size=(height, width), channels=channels)
    images = load_split(arguments.reference, arguments.split, options, progress=progress)
    if images.shape != shape:
        raise ScoreError(
            f"{arguments.samples} knows images of {list(shape)} (H, W, C), not of {list(images.shape)}; leave out "
            "--size and --channels"
        )
    return judging.count_errors(arguments.samples, config, images, reference=f"{arguments.reference} {arguments.split}")


def scores_of(arguments: ScoreArguments, extractor: Extractor, progress: Progress) -> Result:
    """Score samples; cheap checks come before images are generated."""
    if loading.is_run(arguments.samples):
        count = arguments.count or loading.FROM_A_RUN
        _check_enough(count, str(arguments.samples), extractor)
        real = _real(arguments, extractor, loading.shape_of(arguments.samples), progress)
        chosen = _generated(arguments, count, extractor, progress)
    else:
        channels = None if extractor.image_shape is None else extractor.image_shape[2]
        chosen = loading.read(arguments.samples, count=arguments.count, channels=channels, progress=progress)
        _check_enough(len(chosen), str(arguments.samples), extractor)
        real = _real(arguments, extractor, chosen.shape, progress)
    return _scored(arguments, chosen, real, extractor, progress)


def _real(arguments: ScoreArguments, extractor: Extractor, shape: tuple[int, int, int], progress: Progress) -> Real:
    """Load the real images: in the samples' shape if the extractor accepts any shape, else unchanged."""
    from training.errors import ScoreError

    _check_splits(arguments)
    size, channels = (shape[:2], shape[2]) if extractor.image_shape is None else (None, extractor.image_shape[2])
    found = load_splits(
        arguments.reference, _filled(arguments.options, size=size, channels=channels), progress=progress
    )
    compared = found.test if arguments.split == "test" and found.test else found.train
    if extractor.image_shape is None and compared.shape != shape:
        raise ScoreError(
            f"the samples are {list(shape)} (H, W, C) and the real images {list(compared.shape)}; leave out --size and "
            "--channels, and the real images are converted to that shape"
        )
    _check_enough(len(compared), f"{arguments.reference} {arguments.split}", extractor)
    return Real(f"{arguments.reference} {arguments.split}", compared, found.train, found.test)


def _check_enough(images: int, what: str, extractor: Extractor) -> None:
    """Refuse too few images before the extraction, which may take hours."""
    from training.errors import ScoreError

    if images <= extractor.features:
        raise ScoreError(
            f"{what}: {images} images are too few for {extractor.features} features: their covariance is singular; "
            f"give at least {extractor.features + 1}"
        )


def _check_splits(arguments: ScoreArguments) -> None:
    """Refuse a source without test images if they are needed."""
    from training.data import has_split
    from training.errors import DataError

    if (arguments.split == "test" or arguments.parzen) and not has_split(arguments.reference, "test"):
        needed = "--parzen needs one" if arguments.parzen else "give --split train"
        raise DataError(f"{arguments.reference} has no test split; {needed}")


def _filled(options: Options, *, size: tuple[int, int] | None, channels: int | None) -> Options:
    """Return options with missing values filled in."""
    return dataclasses.replace(options, size=options.size or size, channels=options.channels or channels)


def _generated(arguments: ScoreArguments, count: int, extractor: Extractor, progress: Progress) -> Samples:
    """Generate samples of a run."""
    from handlers.errors import HandlerError

    report = _task(progress, "generating", count)
    try:
        return loading.generate(
            arguments.samples, count=count, seed=arguments.seed, shape=extractor.image_shape, report=report
        )
    except HandlerError as error:
        fail(str(error), FAILED)


def _scored(arguments: ScoreArguments, chosen: Samples, real: Real, extractor: Extractor, progress: Progress) -> Result:
    """Score the samples, and as many training images unless those are the reference."""
    from training.scores.comparison import compare
    from training.scores.conditions import Conditions

    treatment = extractor.treatment(real.compared.shape)
    conditions = Conditions(extractor=extractor.sha256, reference=real.name, resize=treatment)
    sets = [chosen.images]
    if real.train is not real.compared and len(real.train) > extractor.features:
        sets.append(real.train.images[: len(chosen)])
    report = _task(progress, "extracting features", len(real.compared) + sum(map(len, sets)))
    expected = extractor(real.compared.images, report=report).features
    seen = [extractor(images, report=report) for images in sets]
    step = _task(progress, "comparing", len(sets))
    scored = []
    for images, each in zip(sets, seen, strict=True):
        compared = compare(expected, each.features, each.probabilities, seed=arguments.seed, conditions=conditions)
        scored.append(SetScores(images=len(images), comparison=compared))
        step(1)
    kmeans = None
    if arguments.parzen:
        scored, kmeans = _with_parzen(scored, chosen, real, arguments.seed, progress)
    theirs = scored[1] if len(scored) > 1 else None
    return Result(samples=chosen, real=real, extractor=extractor, ours=scored[0], theirs=theirs, kmeans=kmeans)


def _with_parzen(
    scored: list[SetScores], chosen: Samples, real: Real, seed: int, progress: Progress
) -> tuple[list[SetScores], ParzenScore]:
    """Add the Parzen log-likelihood of samples, of training images without the validation images, and of k-means."""
    from training.scores.parzen import centroids, hold_out, parzen_log_likelihood

    assert real.test is not None  # noqa: S101 - checked when it was loaded
    training, validation = hold_out(real.train.images)
    report = _task(progress, "k-means", len(training))
    centres = centroids(training, len(chosen), seed=seed, report=report)
    sets: list[NDArray[Any]] = [chosen.images, training[: len(chosen)]][: len(scored)]
    report = _task(progress, "Parzen windows", (len(sets) + 1) * (len(validation) + len(real.test)))
    *values, kmeans = (
        parzen_log_likelihood(images, validation, real.test.images, reference=f"{real.test.name} test", report=report)
        for images in [*sets, centres]
    )
    return [dataclasses.replace(each, parzen=value) for each, value in zip(scored, values, strict=True)], kmeans


def _task(progress: Progress, name: str, total: int) -> Report:
    """Add a progress bar, and return the function that advances it."""
    task = progress.add_task(name, total=total)
    return lambda more: progress.advance(task, more)
