"""`mintage neurons classify`: train a classifier on an autoencoder's top units, as a run folder to pack and serve."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import JsonOption, friendly_errors
from service.cli.data_options import SOURCES, JpegOption, LimitOption, MaxDamagedOption, bars, load_splits
from service.cli.json_lines import print_json
from service.cli.neurons.runs import DeviceOption, RunArgument, SeedOption, load_on_device, run_options, shown_tasks

if TYPE_CHECKING:
    from training.neurons.classifier import ClassifierOutcome
    from training.recipes import NeuronClassifierRecipe


def classify(
    run: RunArgument,
    *,
    data: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help=f"Labelled images, converted to the run's size and channels: {SOURCES}.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("--run", metavar="OUT", help="Run folder to write.", show_default="RUN-classifier")
    ] = None,
    fine_tune: Annotated[
        int, typer.Option(metavar="PASSES", min=0, help="Passes of fine-tuning the whole network; 0 for none.")
    ] = 0,
    penalty: Annotated[
        float | None, typer.Option(help="Weight of the squared norm in the regressions.", show_default="10")
    ] = None,
    limit: LimitOption = None,
    max_damaged: MaxDamagedOption = None,
    jpeg: JpegOption = None,
    seed: SeedOption = 1,
    device: DeviceOption = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Train a one-versus-rest classifier on an autoencoder's top units.

    Writes a run folder to pack and serve: a classifier whose p(generated) is always 1/2.

    Example: mintage neurons classify runs/face-neuron --data cifar10/
    """
    folder = out or run.with_name(f"{run.resolve().name}-classifier")
    with friendly_errors(), bars() as progress:
        from training.neurons.classifier import classify_run

        recipe = _recipe(passes=fine_tune, seed=seed, **({} if penalty is None else {"penalty": penalty}))
        trained = load_on_device(run, device)
        splits = load_splits(
            data, run_options(trained, limit=limit, max_damaged=max_damaged, jpeg=jpeg), progress=progress
        )
        outcome = classify_run(
            trained, splits.train, folder, recipe=recipe, test=splits.test, begin=shown_tasks(progress)
        )
    if as_json:
        print_json({"run": str(folder), **dataclasses.asdict(outcome), "data": splits.account()})
    else:
        _print(folder, outcome)


def register(app: typer.Typer) -> None:
    """Add the verb to `mintage neurons`."""
    app.command()(classify)


def _recipe(**fields: Any) -> NeuronClassifierRecipe:
    from training.recipes.neuron_classifier import NEURON_CLASSIFIER

    return NEURON_CLASSIFIER.overridden(fields)


def _print(folder: Path, outcome: ClassifierOutcome) -> None:
    typer.echo(f"{outcome.units:,} units; {100 * outcome.train_accuracy:.2f} % of {outcome.train_images:,} images")
    if outcome.test_accuracy is not None and outcome.linear_accuracy is not None:
        typer.echo(
            f"{100 * outcome.test_accuracy:.2f} % of {outcome.test_images:,} test images "
            f"({100 * outcome.linear_accuracy:.2f} % before fine-tuning); {outcome.seconds:.0f} s"
        )
    typer.echo(f"{folder} is a classifier; `mintage pack {folder}` packs it into an archive")
