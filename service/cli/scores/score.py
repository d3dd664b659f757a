"""`mintage score`: score samples, and real images against real ones for comparison.

mintage score runs/ssgan-digits                              # 10,000 samples of a run against the test images
mintage score runs/ssgan-digits --errors                     # its classifier, on the labelled test images
mintage score var/output/jobs/01kat7x2m9q3zc5d digits        # the images of a sample job
mintage score images/ digits --parzen --nearest sheet.png    # a folder of PNG files
mintage score runs/faces faces/                               # photographs, by the network of the face neuron
mintage score runs/faces faces/ --inception weights-inception-2015-12-05-6726825d.pth
"""

from __future__ import annotations

import dataclasses
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from service.cli.console import JsonOption, fail, friendly_errors
from service.cli.data_options import (
    SOURCES,
    ChannelsOption,
    JpegOption,
    LimitOption,
    MaxDamagedOption,
    SizeOption,
    bars,
    data_options,
)
from service.cli.json_lines import print_json
from service.cli.scores import errors as judging
from service.cli.scores import samples as loading
from service.cli.scores import table
from service.cli.scores.extractors import requested
from service.cli.scores.measuring import ScoreArguments, classifier_errors, scores_of
from service.cli.scores.table import Result


class SplitChoice(StrEnum):
    """The split of the real images."""

    train = "train"
    test = "test"


def score(
    samples: Annotated[
        Path,
        typer.Argument(
            help="A run folder, a sample job's output folder, or a folder of PNG files.", show_default=False
        ),
    ],
    reference: Annotated[
        str | None, typer.Argument(help=f"Real images: {SOURCES}.", show_default="the run's data, else digits")
    ] = None,
    *,
    errors: Annotated[
        bool,
        typer.Option(
            "--errors", help="Count the errors of the run's classifier on labelled images instead of scoring samples."
        ),
    ] = False,
    count: Annotated[
        int | None,
        typer.Option("-n", "--count", min=1, help="Samples to score.", show_default="all; 10000 of a run"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed of a run's samples and of random subsets.")] = 0,
    split: Annotated[
        SplitChoice | None, typer.Option(help="Split of the real images.", show_default="test if there is one")
    ] = None,
    extractor: Annotated[
        Path | None,
        typer.Option(
            help="Folder of a feature extractor, or of an autoencoder's run.",
            show_default="ours: models/digit-features for grey images of 28x28, else models/face-neuron",
        ),
    ] = None,
    inception: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Use Inception-v3 of 2015-12-05 with these weights, .pth or .safetensors."),
    ] = None,
    inception_sha256: Annotated[
        str | None,
        typer.Option(metavar="HEX", help="Required sha256 of that file.", show_default="the published one's"),
    ] = None,
    parzen: Annotated[
        bool, typer.Option("--parzen", help="Add the Parzen log-likelihood of 2014, which ranks models unreliably.")
    ] = False,
    nearest: Annotated[
        Path | None,
        typer.Option(
            metavar="SHEET.png",
            help="Write a sheet of samples with their nearest training images; tell how near.",
        ),
    ] = None,
    size: SizeOption = None,
    channels: ChannelsOption = None,
    limit: LimitOption = None,
    max_damaged: MaxDamagedOption = None,
    jpeg: JpegOption = None,
    as_json: JsonOption = False,
) -> None:
    """Score samples, and real images against real ones for comparison.

    Samples and real images are cropped, resized and compressed alike. Classifier score, Frechet distance, kernel
    distance, precision, recall, density and coverage, all over the features of one extractor. Values are comparable
    only under the same extractor and equal numbers of images. They are called Inception score, FID and KID only with
    --inception and the published weights.

    Example: mintage score runs/ssgan-digits digits -n 2000
    """
    from handlers.compute.environment import prepare

    prepare()
    if nearest is not None and nearest.suffix.lower() != ".png":
        fail(f"--nearest {nearest}: must end in .png")
    if errors and (parzen or nearest or count or extractor or inception):
        fail("--errors is about a classifier, not samples: leave out options for samples and features")
    with friendly_errors(), bars() as progress:
        arguments = ScoreArguments(
            samples=samples,
            reference=reference or _data_of(samples),
            split=None if split is None else split.value,
            options=data_options(size=size, channels=channels, limit=limit, max_damaged=max_damaged, jpeg=jpeg),
            count=count,
            seed=seed,
            parzen=parzen,
        )
        if errors:
            judged = classifier_errors(arguments, progress)
        else:
            result = scores_of(
                arguments,
                requested(
                    extractor,
                    inception=inception,
                    inception_sha256=inception_sha256,
                    reference=arguments.reference,
                ),
                progress,
            )
            near = None if nearest is None else _nearness(result, nearest)
    if errors and as_json:
        print_json(judging.values(judged))
    elif errors:
        judging.show(judged)
    elif as_json:
        print_json({**table.values(result), "nearest": near})
    else:
        table.show(result)
        table.show_nearness(near)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(score)


def _data_of(samples: Path) -> str:
    """Return the data of a run, `digits` if there is no run or its data is unknown."""
    from training.data import names_of
    from training.runs.checkpoint import load_config

    name = load_config(samples).data_name if loading.is_run(samples) else ""
    if len(names_of(name)) > 1:
        fail(f"{samples} was trained on {name}; say which REFERENCE to compare with")
    return name or "digits"


def _nearness(result: Result, sheet: Path) -> dict[str, Any]:
    """Draw samples with their nearest training images, and measure how near samples and test images are."""
    from training.scores.nearest import nearest_sheet, nearness

    train, test = result.real.train.images, result.real.test
    drawn = nearest_sheet(result.samples.images, train)
    sheet.parent.mkdir(parents=True, exist_ok=True)
    drawn.save(sheet)
    return {
        "sheet": str(sheet),
        "samples": dataclasses.asdict(nearness(result.samples.images, train)),
        "test": None if test is None else dataclasses.asdict(nearness(test.images, train)),
    }
