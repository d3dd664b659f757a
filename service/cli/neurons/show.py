"""`mintage neurons show`: list the concepts of a run, or draw what stimulates a neuron."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import JsonOption, console, friendly_errors, table
from service.cli.data_options import SOURCES, JpegOption, LimitOption, MaxDamagedOption, bars
from service.cli.json_lines import print_json
from service.cli.neurons.loading import Loading, source_option
from service.cli.neurons.runs import DeviceOption, RunArgument, SeedOption, load_on_device, run_options, shown_tasks

if TYPE_CHECKING:
    from rich.progress import Progress

    from training.data import LabelledImages
    from training.neurons.activations import LoadedRun
    from training.neurons.concepts import Concept
    from training.neurons.pictures import Neuron


def show(
    run: RunArgument,
    concept: Annotated[
        str | None, typer.Argument(metavar="[CONCEPT]", help="A concept found before.", show_default="all, as a list")
    ] = None,
    *,
    stage: Annotated[int | None, typer.Option(help="Stage of a unit to show, from 1.", show_default=False)] = None,
    unit: Annotated[int | None, typer.Option(help="Unit to show, from 0.", show_default=False)] = None,
    data: Annotated[
        str | None,
        source_option(f"Images to search for the strongest responses: {SOURCES}. Without: its optimal stimulus."),
    ] = None,
    limit: LimitOption = None,
    max_damaged: MaxDamagedOption = None,
    jpeg: JpegOption = None,
    seed: SeedOption = 1,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """List the concepts of a run, or draw what stimulates a neuron.

    Pictures are written to RUN/shown/CONCEPT or RUN/shown/stage-S-unit-U; those of `find` are kept.

    Example: mintage neurons show runs/face-neuron
    mintage neurons show runs/face-neuron face --data photos/
    """
    with friendly_errors(), bars() as progress:
        trained = load_on_device(run, device)
        from training.neurons.concepts import read_concepts

        concepts = read_concepts(run)
        neuron = _neuron(trained, concepts, concept, stage, unit)
        if neuron is None:
            files = []
        else:
            options = run_options(trained, limit=limit, max_damaged=max_damaged, jpeg=jpeg)
            images = None if data is None else Loading(options, progress).loaded(data)[0]
            files = _drawn(trained, neuron, images, seed, progress)
            concepts = tuple(each for each in concepts if each.name == concept)
    if as_json:
        values = [dataclasses.asdict(each) for each in concepts]
        print_json({"run": str(run), "concepts": values, "files": [str(file) for file in files]})
    else:
        _print_concepts(run, concepts, listed=neuron is None)
        for file in files:
            typer.echo(str(file))


def register(app: typer.Typer) -> None:
    """Add the verb to `mintage neurons`."""
    app.command()(show)


def _neuron(
    trained: LoadedRun, concepts: tuple[Concept, ...], name: str | None, stage: int | None, unit: int | None
) -> Neuron | None:
    """Return the requested neuron, or None for all."""
    from training.errors import RunError
    from training.neurons.pictures import Neuron

    if name is None and stage is None and unit is None:
        return None
    if (name is None) == (stage is None or unit is None) or (stage is None) != (unit is None):
        raise RunError("name a concept, or else give --stage and --unit")
    if stage is not None and unit is not None:
        trained.must_have(stage, unit)
        return Neuron(f"stage-{stage}-unit-{unit}", stage, unit)
    found = next((each for each in concepts if each.name == name), None)
    if found is None:
        known = ", ".join(each.name for each in concepts) or "none yet; `mintage neurons find` searches for one"
        raise RunError(f"{trained.run.path} has no concept {name!r}; its concepts are {known}")
    trained.must_have(found.stage, found.unit)
    return Neuron(found.name, found.stage, found.unit, found.sign, found.threshold)


def _drawn(
    trained: LoadedRun, neuron: Neuron, images: LabelledImages | None, seed: int, progress: Progress
) -> list[Path]:
    """Draw the images or the optimal stimulus of a neuron."""
    from training.neurons.pictures import draw, draw_optimal

    folder = trained.run.path / "shown" / neuron.name
    folder.mkdir(parents=True, exist_ok=True)
    if images is None:
        return [draw_optimal(folder, trained, neuron, seed=seed, begin=shown_tasks(progress))]
    return draw(folder, trained, neuron, images=images.images, seed=seed, begin=shown_tasks(progress))


def _print_concepts(run: Path, concepts: tuple[Concept, ...], *, listed: bool) -> None:
    if not concepts:
        if listed:
            typer.echo(f"{run} has no concepts yet; `mintage neurons find {run}` searches for one")
        return
    columns = ["concept", "neuron", "threshold", "accuracy", "95 %", "AUROC", "images"]
    rows = [
        (
            each.name,
            f"{each.stage}:{each.unit}",
            f"{'>' if each.sign > 0 else '<'} {each.sign * each.threshold:.4g}",
            f"{100 * each.accuracy:.1f}",
            f"{100 * each.accuracy_low:.1f}-{100 * each.accuracy_high:.1f}",
            f"{each.auroc:.3f}",
            f"{each.positives:,} + {each.distractors:,}",
        )
        for each in concepts
    ]
    console().print(table(columns, rows, right=columns[1:]))
    typer.echo("neuron: stage:unit; accuracy in percent; images: positives and distractors of the test")
