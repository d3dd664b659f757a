"""Prints the scores of `mintage score`, as a table or as JSON values."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from service.cli.console import console, table

if TYPE_CHECKING:
    from service.cli.scores.samples import Samples
    from training.data import LabelledImages
    from training.extractors.extractor import Extractor
    from training.scores.comparison import Comparison
    from training.scores.names import ScoreNames
    from training.scores.parzen import ParzenScore

WARNING = (
    "Parzen estimates rank models unreliably (Theis et al. 2015): k-means centres generate nothing and beat real "
    "images. Use the number only for comparison with the tables of 2014."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetScores:
    """The scores of one set of images, and what it was compared with.

    Attributes:
        what: of real images, in words; empty for the samples.
    """

    images: int
    reference_images: int
    what: str
    comparison: Comparison
    parzen: ParzenScore | None = None


@dataclass(frozen=True, slots=True)
class Real:
    """The real images: the reference, and the training and test images."""

    name: str
    compared: LabelledImages
    train: LabelledImages
    test: LabelledImages | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """All that is printed.

    Attributes:
        theirs: the scores of real images against real ones, if there are enough.
        kmeans: the Parzen score of k-means centres of the training images, if requested.
    """

    samples: Samples
    real: Real
    extractor: Extractor
    ours: SetScores
    theirs: SetScores | None
    kmeans: ParzenScore | None


def values(result: Result) -> dict[str, Any]:
    """Return the scores as JSON values."""
    from training.data.account import account

    samples, real, extractor = result.samples, result.real, result.extractor
    return {
        "samples": {
            "source": samples.source,
            "images": len(samples),
            "seed": samples.seed,
            "passed_over": [dataclasses.asdict(each) for each in samples.passed_over],
        },
        "reference": {"name": real.name, "images": len(real.compared)},
        "data": {"train": account(real.train), "test": None if real.test is None else account(real.test)},
        "extractor": {"sha256": extractor.sha256, **extractor.facts},
        "names": dataclasses.asdict(extractor.names),
        "scores": dataclasses.asdict(result.ours),
        "real_against_real": None if result.theirs is None else dataclasses.asdict(result.theirs),
        "kmeans": None if result.kmeans is None else dataclasses.asdict(result.kmeans),
    }


def show(result: Result) -> None:
    """Print the scores and their conditions."""
    extractor, ours, theirs = result.extractor, result.ours, result.theirs
    columns = ["score", f"{ours.images:,} samples", "better"]
    cells = [_cells(ours, extractor.names)]
    if theirs is not None:
        columns.insert(2, f"{theirs.images:,} real")
        cells.append(_cells(theirs, extractor.names))
    better = _better(extractor)
    rows = [(name, *(each[name] for each in cells), better[name]) for name in cells[0]]
    console().print(table(columns, rows, right=columns[1:-1]))
    if theirs is not None:
        typer.echo(
            f"{theirs.images:,} real: {theirs.what}, {theirs.reference_images:,} images; perfect samples would score so"
        )
    else:
        images, least = len(result.real.compared), 2 * (extractor.features + 1)
        typer.echo(
            f"nothing says what perfect samples score: for halves of the {images:,} real images {least:,} are needed"
        )
    typer.echo(_conditions(result))
    if extractor.facts.get("known") is False:
        typer.echo("these weights are not the published ones: none of this is an Inception score, FID or KID")
    _show_parzen(result)


def show_nearness(near: dict[str, Any] | None) -> None:
    """Print how far samples, and test images, are from the training images nearest to them."""
    if near is None:
        return
    told = {"samples": near["samples"], "test images": near["test"]}
    parts = [
        f"{each['images']:,} {what} {each['median']:.1f} (5 % below {each['low']:.1f})"
        for what, each in told.items()
        if each is not None
    ]
    typer.echo(f"grey levels to the nearest training image, median: {', '.join(parts)}; {near['sheet']}")


def _conditions(result: Result) -> str:
    """Describe the conditions of the values."""
    samples, real, extractor, found = result.samples, result.real, result.extractor, result.ours.comparison
    seed = "" if samples.seed is None else f", seed {samples.seed}"
    network = extractor.facts.get("network")
    identity = f"{network}, sha256 {extractor.sha256}" if network else extractor.sha256[:12]
    treatment = extractor.treatment(real.compared.shape)
    resized = "as they are" if treatment == "none" else f"resized {treatment}"
    return (
        f"samples of {samples.source}{seed}; reference {real.name}, {len(real.compared):,} images; extractor "
        f"{identity}; k = {found.shares.neighbours}; {found.kernel.subsets} subsets of "
        f"{found.kernel.subset_size:,}; both sides "
        f"{found.frechet.conditions.images}, for the extractor {resized}"
    )


def _show_parzen(result: Result) -> None:
    """Print the Parzen scores, k-means last, and a warning."""
    if result.ours.parzen is None:
        return
    typer.echo(f"samples: {result.ours.parzen}")
    if result.theirs is not None and result.theirs.parzen is not None:
        typer.echo(f"training images: {result.theirs.parzen}")
    typer.echo(f"centres of k-means on training images: {result.kmeans}")
    typer.echo(WARNING)


def _cells(scored: SetScores, names: ScoreNames) -> dict[str, str]:
    """Write all values in a few digits."""
    found, shares = scored.comparison, scored.comparison.shares
    cells = {}
    if found.classifier is not None:
        cells[names.classifier] = f"{found.classifier.mean:.3f} ± {found.classifier.std:.3f}"
    cells |= {
        names.frechet: f"{found.frechet.value:.3f}",
        names.kernel: f"{found.kernel.mean:.5f} ± {found.kernel.std:.5f}",
        "precision": f"{shares.precision:.4f}",
        "recall": f"{shares.recall:.4f}",
        "density": f"{shares.density:.4f}",
        "coverage": f"{shares.coverage:.4f}",
    }
    if scored.parzen is not None:
        cells["Parzen, nats"] = f"{scored.parzen.mean:.1f} ± {scored.parzen.standard_error:.1f}"
    return cells


def _better(extractor: Extractor) -> dict[str, str]:
    """Say for each score which direction is better."""
    return {
        extractor.names.classifier: f"higher, at most {extractor.classes:,}",
        extractor.names.frechet: "lower, near 0",
        extractor.names.kernel: "lower, around 0",
        "precision": "higher, at most 1",
        "recall": "higher, at most 1",
        "density": "higher, about 1",
        "coverage": "higher, at most 1",
        "Parzen, nats": "higher, with care",
    }
