"""Measures what `mintage score` prints: loads samples and real images, extracts features, and compares them."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.cli.console import FAILED, fail
from service.cli.data_options import load_split, load_splits
from service.cli.run_data import as_trained, plain_lines
from service.cli.scores import errors as judging
from service.cli.scores import samples as loading
from service.cli.scores.extractors import default_for
from service.cli.scores.table import Real, Result, SetScores

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.progress import Progress

    from service.cli.scores.samples import Report, Samples
    from training.data import LabelledImages, Options, Split
    from training.extractors.extractor import Extractor, ExtractorOutput
    from training.scores.conditions import Conditions
    from training.scores.parzen import ParzenScore


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreArguments:
    """The arguments of the command."""

    samples: Path
    reference: str
    split: Split | None  # None: test where there is one, else train
    options: Options
    count: int | None
    seed: int
    parzen: bool


def classifier_errors(arguments: ScoreArguments, progress: Progress) -> judging.ClassifierErrors:
    """Count the errors of a run's classifier on images of the run's shape."""
    from training.errors import ScoreError
    from training.runs.checkpoint import load_config

    config = load_config(arguments.samples)
    shape = config.height, config.width, config.channels
    split = _split_of(arguments)
    images = load_split(arguments.reference, split, as_trained(arguments.options, config), progress=progress)
    if images.shape != shape:
        raise ScoreError(
            f"{arguments.samples} knows images of {list(shape)} (H, W, C), not of {list(images.shape)}; leave out "
            "--size and --channels"
        )
    return judging.count_errors(arguments.samples, config, images, split=split)


def scores_of(arguments: ScoreArguments, extractor: Extractor | None, progress: Progress) -> Result:
    """Score samples; cheap checks come before images are generated.

    Samples and real images are treated alike: a run's as its training images were, unless something else is asked for.

    Args:
        arguments: of the command.
        extractor: the one that was asked for; None for the one that ships for such images.
        progress: where to show what is being done.
    """
    options = arguments.options
    if loading.is_run(arguments.samples):
        from training.runs.checkpoint import load_config

        options = as_trained(options, load_config(arguments.samples))
        assert options.size is not None and options.channels is not None  # noqa: S101 - filled in above
        shape = (*options.size, options.channels)
        sees = extractor or default_for(shape)
        _must_see(sees, shape, f"{arguments.samples} generates")
        count = arguments.count or loading.FROM_A_RUN
        _check_enough(count, str(arguments.samples), sees)
        real = _real(arguments, options, sees, shape, progress)
        chosen = loading.treated(_generated(arguments, count, progress), options)
    else:
        if extractor is not None and extractor.image_shape is not None:
            options = _filled(options, size=None, channels=extractor.image_shape[2])
        chosen = loading.read(arguments.samples, count=arguments.count, options=options, progress=progress)
        sees = extractor or default_for(chosen.shape)
        _must_see(sees, chosen.shape, f"{arguments.samples} holds")
        _check_enough(len(chosen), str(arguments.samples), sees)
        real = _real(arguments, options, sees, chosen.shape, progress)
    return _scored(arguments, chosen, real, sees, progress)


def _real(
    arguments: ScoreArguments, options: Options, extractor: Extractor, shape: tuple[int, int, int], progress: Progress
) -> Real:
    """Load the real images in the samples' shape."""
    from training.errors import ScoreError

    split = _split_of(arguments)
    options = _filled(options, size=shape[:2], channels=shape[2])
    found = load_splits(arguments.reference, options, progress=progress)
    compared = found.test if split == "test" and found.test else found.train
    if compared.shape != shape:
        raise ScoreError(f"the samples are {list(shape)} (H, W, C) and the real images {list(compared.shape)}")
    _check_enough(len(compared), f"{arguments.reference} {split}", extractor)
    return Real(f"{arguments.reference} {split}", compared, found.train, found.test)


def _must_see(extractor: Extractor, shape: tuple[int, int, int], what: str) -> None:
    """Refuse images of another shape than the extractor takes."""
    from training.errors import ScoreError

    wanted = extractor.image_shape
    if wanted not in (None, shape):
        height, width, channels = wanted
        raise ScoreError(
            f"{what} images of {list(shape)} (H, W, C), but the extractor sees {list(wanted)}: --size "
            f"{height}x{width} --channels {channels} resizes both sides, or take another --extractor"
        )


def _check_enough(images: int, what: str, extractor: Extractor) -> None:
    """Refuse too few images before the extraction, which may take hours."""
    from training.errors import ScoreError

    if images <= extractor.features:
        raise ScoreError(
            f"{what}: {images} images are too few for {extractor.features} features: their covariance is singular; "
            f"give at least {extractor.features + 1}"
        )


def _split_of(arguments: ScoreArguments) -> Split:
    """Return the split of the real images; refuse a source without test images if they are needed."""
    from training.data import has_split
    from training.errors import DataError

    has_test = has_split(arguments.reference, "test")
    if not has_test and (arguments.split == "test" or arguments.parzen):
        needed = "--parzen needs one" if arguments.parzen else "give --split train"
        raise DataError(f"{arguments.reference} has no test split; {needed}")
    return arguments.split or ("test" if has_test else "train")


def _filled(options: Options, *, size: tuple[int, int] | None, channels: int | None) -> Options:
    """Return options with missing values filled in."""
    return dataclasses.replace(options, size=options.size or size, channels=options.channels or channels)


def _generated(arguments: ScoreArguments, count: int, progress: Progress) -> Samples:
    """Generate samples of a run."""
    from handlers.errors import HandlerError

    report = _task(progress, "generating", count)
    try:
        return loading.generate(arguments.samples, count=count, seed=arguments.seed, report=report)
    except HandlerError as error:
        fail(str(error), FAILED)


def _scored(arguments: ScoreArguments, chosen: Samples, real: Real, extractor: Extractor, progress: Progress) -> Result:
    """Score the samples, and real images against real ones."""
    from training.scores.conditions import Conditions

    conditions = Conditions(
        extractor=extractor.sha256,
        reference=real.name,
        images=_treatment(real.compared),
        resize=extractor.treatment(real.compared.shape),
    )
    trained = None
    if real.train is not real.compared and len(real.train) > extractor.features:
        trained = real.train.images[: len(chosen)]
    sets = [real.compared.images, chosen.images, *([] if trained is None else [trained])]
    report = _task(progress, "extracting features", sum(map(len, sets)))
    expected, seen, *others = (extractor(images, report=report) for images in sets)
    pairs = [_Pair("", expected.features, seen)]
    if others:
        pairs.append(_Pair(f"training images against {real.name}", expected.features, others[0]))
    else:
        pairs += _halved(expected, extractor, real.name, arguments.seed)
    scored = _compared(pairs, arguments.seed, conditions, progress)
    kmeans = None
    if arguments.parzen:
        scored, kmeans = _with_parzen(scored, chosen, real, arguments.seed, progress)
    theirs = scored[1] if len(scored) > 1 else None
    return Result(samples=chosen, real=real, extractor=extractor, ours=scored[0], theirs=theirs, kmeans=kmeans)


@dataclass(frozen=True, slots=True)
class _Pair:
    """Features of real images, and what is compared with them."""

    what: str
    real: NDArray[np.float32]
    other: ExtractorOutput


def _halved(expected: ExtractorOutput, extractor: Extractor, name: str, seed: int) -> list[_Pair]:
    """Return one half of the real images against the other, none if a half is too small."""
    from training.extractors.extractor import ExtractorOutput
    from training.scores.halves import two_halves

    one, other = two_halves(len(expected.features), seed=seed)
    if len(one) <= extractor.features:
        return []
    half = ExtractorOutput(expected.features[other], expected.probabilities[other])
    return [_Pair(f"one half of {name} against the other", expected.features[one], half)]


def _compared(pairs: list[_Pair], seed: int, conditions: Conditions, progress: Progress) -> list[SetScores]:
    """Compare every pair, and show how far it is: of 10,000 images it takes half a minute."""
    from training.scores.comparison import compare, pairs_of

    sizes = [(len(pair.real), len(pair.other.features)) for pair in pairs]
    report = _task(progress, "comparing pairs of images", sum(pairs_of(*size) for size in sizes))
    return [
        SetScores(
            images=others,
            reference_images=reals,
            what=pair.what,
            comparison=compare(
                pair.real,
                pair.other.features,
                pair.other.probabilities,
                seed=seed,
                conditions=conditions,
                report=report,
            ),
        )
        for pair, (reals, others) in zip(pairs, sizes, strict=True)
    ]


def _treatment(images: LabelledImages) -> str:
    """Describe how the images of both sides were treated before anything looked at them."""
    (height, width, channels), quality = images.shape, images.jpeg_quality
    colours = "grey" if channels == 1 else "colour"
    return f"{width}x{height}, {colours}" + ("" if quality is None else f", JPEG quality {quality}")


def _with_parzen(
    scored: list[SetScores], chosen: Samples, real: Real, seed: int, progress: Progress
) -> tuple[list[SetScores], ParzenScore]:
    """Add the Parzen log-likelihood of samples, of training images without the validation images, and of k-means."""
    from training.scores.parzen import centroids, hold_out, parzen_log_likelihood

    assert real.test is not None  # noqa: S101 - checked when it was loaded
    training, validation = hold_out(real.train.images)
    report = _task(progress, "k-means", len(training))
    centres = centroids(training, len(chosen), seed=seed, report=report)
    trained = len(scored) > 1 and real.train is not real.compared  # and no halves
    sets: list[NDArray[Any]] = [chosen.images, *([training[: len(chosen)]] if trained else [])]
    report = _task(progress, "Parzen windows", (len(sets) + 1) * (len(validation) + len(real.test)))
    *values, kmeans = (
        parzen_log_likelihood(images, validation, real.test.images, reference=f"{real.test.name} test", report=report)
        for images in [*sets, centres]
    )
    found = [*values, None][: len(scored)]
    return [dataclasses.replace(each, parzen=value) for each, value in zip(scored, found, strict=True)], kmeans


def _task(progress: Progress, name: str, total: int) -> Report:
    """Add a bar, or print a line every few seconds without a terminal; returns the function that advances it."""
    if progress.disable:
        tell, done = plain_lines(name), 0

        def advance(more: int) -> None:
            nonlocal done
            done += more
            tell(done, total)

        return advance
    task = progress.add_task(name, total=total)
    return lambda more: progress.advance(task, more)
