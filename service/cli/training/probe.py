"""`mintage probe`: a classifier on the features that a DCGAN's discriminator learnt without labels.

mintage probe runs/dcgan32 --data cifar10/                         # writes runs/dcgan32-probe
mintage probe runs/dcgan32 --data svhn/ --labels-per-class 100     # mean of 100 draws of 100 labels per class
mintage pack runs/dcgan32-probe                                    # the classifier, for serving
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import JsonOption, console, friendly_errors, table
from service.cli.data_options import (
    SOURCES,
    JpegOption,
    LimitOption,
    MaxDamagedOption,
    Splits,
    bars,
    data_options,
    load_splits,
)
from service.cli.json_lines import print_json
from service.cli.run_data import as_trained

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.progress import Progress

    from training.data import Options
    from training.probe.outcome import ProbeOutcome


def probe(
    run: Annotated[Path, typer.Argument(help="Run folder of an unconditional DCGAN.", show_default=False)],
    *,
    data: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help=f"Labelled images, converted to the run's size and channels: {SOURCES}.",
            show_default=False,
        ),
    ],
    limit: LimitOption = None,
    max_damaged: MaxDamagedOption = None,
    jpeg: JpegOption = None,
    labels_per_class: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Labelled images per class in one draw; the accuracy is the mean over draws.",
            show_default="all, once",
        ),
    ] = None,
    draws: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Number of draws of few labels.", show_default="100")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--run", metavar="OUT", help="Run folder to write.", show_default="RUN-probe")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Seed of the validation split and the draws.")] = 1,
    device: Annotated[
        str, typer.Option(help="Device: cpu, cuda or cuda:N. The features of all images must fit in its memory.")
    ] = "cpu",
    as_json: JsonOption = False,
) -> None:
    """Train a linear classifier on the features that a DCGAN's discriminator learnt without labels.

    Writes a run folder to pack and serve: a classifier whose p(generated) is the discriminator's judgement.

    Example: mintage probe runs/photos --data cifar10/ --labels-per-class 100
    """
    from training.errors import RecipeError

    folder = out or run.with_name(f"{run.resolve().name}-probe")
    with friendly_errors(), bars() as progress:
        if draws is not None and labels_per_class is None:
            raise RecipeError("--draws needs --labels-per-class: with all labels there is only one draw")
        fields = {"seed": seed, "labels_per_class": labels_per_class or 0, "final_draws": draws or 100}
        options = data_options(limit=limit, max_damaged=max_damaged, jpeg=jpeg)
        splits, outcome = _probed(run, folder, data, fields, options=options, device=device, progress=progress)
    if as_json:
        print_json({"run": str(folder), **dataclasses.asdict(outcome), "data": splits.account()})
    else:
        _print(folder, outcome)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(probe)


def _probed(
    run: Path,
    folder: Path,
    source: str,
    fields: dict[str, Any],
    *,
    options: Options,
    device: str,
    progress: Progress,
) -> tuple[Splits, ProbeOutcome]:
    """Load the images in the run's shape, and probe the run."""
    from training.config import Loading
    from training.recipes.probe import PROBE
    from training.runs.checkpoint import load_config

    options = as_trained(options, load_config(run))
    recipe = PROBE.overridden(fields)
    splits = load_splits(source, options, progress=progress)
    from training.probe.run import probe_run

    def begin(name: str, total: int) -> Callable[[int], None]:
        if progress.disable:  # no terminal: print a line as each task starts, since some take minutes
            typer.echo(f"{name}: {total:,}", err=True)
        task = progress.add_task(name, total=total)
        return lambda more: progress.advance(task, more)

    outcome = probe_run(
        run,
        splits.train,
        folder,
        recipe=recipe,
        loading=Loading(sources=(source,), options=options),
        test=splits.test,
        device=_device(device),
        begin=begin,
    )
    return splits, outcome


def _device(name: str) -> str:
    """Return a device's name after checking that it is available."""
    import torch

    from training.errors import RunError

    try:
        torch.empty(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise RunError(f"--device {name} cannot be used: {str(error).splitlines()[0]}") from None
    return name


def _print(folder: Path, outcome: ProbeOutcome) -> None:
    rows = [
        (
            "validation",
            f"{outcome.validation_images:,}",
            _percent(outcome.validation_accuracy),
            "",
            f"{outcome.validation_log_loss:.3f}",
        )
    ]
    if outcome.test_accuracy is not None:
        spread = "" if outcome.test_deviation is None else f"± {196 * outcome.test_deviation:.2f}"
        rows.append(
            (
                "test",
                f"{outcome.test_images:,}",
                _percent(outcome.test_accuracy),
                spread,
                f"{outcome.test_log_loss:.3f}",
            )
        )
    columns = ["images", "number", "accuracy", "1.96 deviations", "log loss, nats"]
    console().print(table(columns, rows, right=columns[1:]))
    drawn = "" if outcome.draws == 1 else f" in each of {outcome.draws} draws"
    scaled = "each scaled to unit variance" if outcome.standardised else "all scaled by one number"
    typer.echo(
        f"{outcome.features:,} features, {scaled}; {outcome.labels:,} labels{drawn}; C = {outcome.cost:g}; "
        f"temperature {outcome.temperature:.3g}; {outcome.seconds:.0f} s"
    )
    typer.echo(f"{folder} is a classifier; `mintage pack {folder}` packs it into an archive")


def _percent(share: float) -> str:
    return f"{100 * share:.2f} %"
