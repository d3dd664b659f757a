"""`mintage neurons find`: search a run for the neuron that detects a concept, and measure it and the controls."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import JsonOption, console, friendly_errors, table
from service.cli.data_options import SOURCES, JpegOption, LimitOption, MaxDamagedOption, bars
from service.cli.json_lines import print_json
from service.cli.neurons.loading import Loading, source_option
from service.cli.neurons.runs import DeviceOption, RunArgument, SeedOption, load_on_device, run_options, shown_tasks

if TYPE_CHECKING:
    from training.neurons.activations import LoadedRun
    from training.neurons.table import Table


def find(
    run: RunArgument,
    *,
    concept: Annotated[str, typer.Option(metavar="NAME", help="Concept to search for.", show_default=False)],
    positives: Annotated[str | None, source_option(f"Images that show the concept: {SOURCES}.")] = None,
    distractors: Annotated[str | None, source_option("Images that do not.")] = None,
    data: Annotated[str | None, source_option("Instead of both: labelled images with the concept as a class.")] = None,
    class_name: Annotated[
        str | None,
        typer.Option("--class", metavar="NAME", help="Class that is the concept.", show_default="the concept's name"),
    ] = None,
    second_positives: Annotated[
        str | None, source_option("Positives of a second test set; nothing is chosen on it.")
    ] = None,
    second_distractors: Annotated[str | None, source_option("Distractors of the second test set.")] = None,
    match: Annotated[
        bool | None,
        typer.Option(
            "--match/--no-match",
            help="Drop images until positives and distractors match in colour, contrast and blur.",
            show_default="match two sources, but not the classes of one",
        ),
    ] = None,
    share: Annotated[float, typer.Option(help="Share of distractors among the images, as in the paper.")] = 0.648,
    crops: Annotated[
        str,
        typer.Option(
            metavar="SHARES",
            help="Also search and measure on the images with these shares of each side cut off at either end, "
            "such as 0.06,0.12,0.18: one neuron and one threshold for things of several sizes.",
        ),
    ] = "",
    compare: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]RUN",
            help="Another run whose best neuron is added to the table, such as one without contrast normalisation; "
            "may be repeated.",
        ),
    ] = None,
    filters: Annotated[
        int,
        typer.Option(
            min=0, max=10_000_000, help="Number of random linear filters to compare with, white and smooth each."
        ),
    ] = 100_000,
    training_images: Annotated[
        list[str] | None,
        source_option(
            "Images that the run was trained on; adds the paper's filters from the training set to the table, their "
            "principal components and their k-means centres; may be repeated."
        ),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace what an earlier search for this concept found in the run.")
    ] = False,
    limit: LimitOption = None,
    max_damaged: MaxDamagedOption = None,
    jpeg: JpegOption = None,
    seed: SeedOption = 1,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Find the neuron that detects a concept, and measure it and the paper's controls.

    Images are converted to the run's size, channels and JPEG quality; the test split is used if there is one. Neuron,
    threshold and sign are chosen on one half of the images, and the accuracy is measured on the other half.

    Example: mintage neurons find runs/face-neuron --concept face --positives lfw/ --distractors cifar10/
    """
    from training.errors import DataError

    with friendly_errors(), bars() as progress:
        from training.neurons.find import Protocol, find_concept

        two = (positives is not None, distractors is not None)
        if two != (data is None, data is None) or (data is None and class_name is not None):
            raise DataError("give --positives and --distractors, or else --data and the --class that is the concept")
        if (second_positives is None) != (second_distractors is None):
            raise DataError("a second test set needs --second-positives and --second-distractors")
        if not replace:
            _must_be_new(run, concept)
        protocol = Protocol(
            name=concept,
            match=data is None if match is None else match,
            share=share,
            crops=_shares(crops),
            filters=filters,
            seed=seed,
        )
        trained = load_on_device(run, device)
        load = Loading(run_options(trained, limit=limit, max_damaged=max_damaged, jpeg=jpeg), progress)
        if data is not None:
            examples, source = load.of_class(data, class_name or concept)
        else:
            examples, source = load.of_two(positives or "", distractors or "")
        found = find_concept(
            trained,
            examples,
            protocol,
            compared=_compared(compare or [], device),
            second=load.of_two(second_positives, second_distractors or "")[0] if second_positives else None,
            training=load.trained_on(training_images) if training_images else None,
            source=source,
            begin=shown_tasks(progress),
        )
    if as_json:
        print_json({"run": str(run), **found.values(), "data": load.accounts})
    else:
        _print(run, found)


def register(app: typer.Typer) -> None:
    """Add the verb to `mintage neurons`."""
    app.command()(find)


def _compared(given: list[str], device: str) -> dict[str, LoadedRun]:
    """Load the runs to compare with, by row name."""
    from training.errors import DataError
    from training.neurons.find import name_of

    runs: dict[str, LoadedRun] = {}
    for each in given:
        name, _, path = each.rpartition("=")
        trained = load_on_device(Path(path), device)
        name = name or name_of(trained)
        if name in runs:
            raise DataError(f"two runs to compare are called {name!r}; name them: --compare NAME=RUN")
        runs[name] = trained
    return runs


def _shares(text: str) -> tuple[float, ...]:
    """Read numbers with commas between."""
    from training.errors import DataError

    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise DataError(f"--crops {text!r}: expected shares with commas between, such as 0.06,0.12") from None


def _must_be_new(run: Path, name: str) -> None:
    """Refuse to search for a concept again."""
    from training.errors import RunError
    from training.neurons.concepts import read_concepts
    from training.neurons.find import NEURONS_FOLDER

    folder = run / NEURONS_FOLDER / name
    if folder.exists() or any(each.name == name for each in read_concepts(run)):
        raise RunError(
            f"{run} has the concept {name!r} already; --replace searches again, another --concept keeps both"
        )


def _print(run: Path, found: Table) -> None:
    from training.neurons.find import NEURONS_FOLDER

    columns, rows = found.cells()
    console().print(table(columns, rows, right=columns[1:-1]))
    for sentence in found.sentences():
        typer.echo(sentence)
    typer.echo(f"table and pictures: {run / NEURONS_FOLDER / found.concept.name}")
