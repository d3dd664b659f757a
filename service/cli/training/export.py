"""`mintage export`: the part of a run that serving reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import friendly_errors
from service.cli.training.pack import KindChoice

if TYPE_CHECKING:
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
) -> None:
    """Copy what serving reads of a run: configuration, weights, concepts, card, samples. The copy can be packed."""
    from training.export import export as export_run

    with friendly_errors():
        made = export_run(
            run,
            folder,
            only=ONLY[kind],
            precision="float16" if half else "float32",
            discriminator="int8" if small_discriminator else "float",
        )
    megabytes = sum(path.stat().st_size for path in made.rglob("*") if path.is_file()) / 1e6
    typer.echo(f"{made}: {megabytes:.1f} MB")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(export)
