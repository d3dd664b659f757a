"""`mintage export`: the part of a run that serving reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import JsonOption, friendly_errors
from service.cli.json_lines import print_json
from service.cli.run_data import as_trained
from service.cli.training.pack import KindChoice

if TYPE_CHECKING:
    from training.data import LabelledImages
    from training.recipes import Kind

ONLY: dict[KindChoice, Kind | None] = {
    KindChoice.all: None,
    KindChoice.generator: "generator",
    KindChoice.classifier: "classifier",
    KindChoice.neurons: "neurons",
    KindChoice.discriminator: "discriminator",
}


def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    folder: Annotated[Path, typer.Argument(help="Folder to create; an existing one must be empty.")],
    *,
    kind: Annotated[KindChoice, typer.Option(help="Which network of the run; all: every trained one.")] = (
        KindChoice.all
    ),
    half: Annotated[
        bool,
        typer.Option("--half", help="Store weights as float16, half the size; serving still computes in float32."),
    ] = False,
    small_discriminator: Annotated[
        bool,
        typer.Option(
            "--small-discriminator",
            help="Store the weights of a discriminator's layers in 8 bits: enough for explaining and inverting.",
        ),
    ] = False,
    calibrate: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="The run's training images, to compute the batch statistics of a DCGAN's discriminator on. For runs "
            "that were trained before these were stored.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Copy what serving reads of a run: configuration, weights, concepts, card, samples. The copy can be packed.

    Example: mintage export runs/photos photos-dcgan --half
    """
    from training.export import export as export_run

    with friendly_errors():
        real = None if calibrate is None else _training_images(run, calibrate)
        made = export_run(
            run,
            folder,
            only=ONLY[kind],
            precision="float16" if half else "float32",
            discriminator="int8" if small_discriminator else "float",
            real=real,
        )
    size = sum(path.stat().st_size for path in made.rglob("*") if path.is_file())
    if as_json:
        print_json({"folder": str(made), "bytes": size})
    else:
        typer.echo(f"{made}: {size / 1e6:.1f} MB")


def _training_images(run: Path, source: str) -> LabelledImages:
    """Load the images that a run was trained on."""
    from service.cli.data_options import bars, load_split
    from training.data import Options
    from training.runs.checkpoint import load_config

    config = load_config(run)
    options = as_trained(Options(limit=config.loading.options.limit), config)
    with bars() as progress:
        return load_split(source, "train", options, progress=progress)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(export)
