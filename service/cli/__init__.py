"""The `mintage` command: one file per verb, assembled here. The one place that may reach every package, lazily."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from service.cli import interrupts, settings
from service.cli.commands import Verbs
from service.cli.explore import verbs as explore
from service.cli.hub import push
from service.cli.jobs import verbs as jobs
from service.cli.neurons import verbs as neurons
from service.cli.scores import score
from service.cli.serving import bench, classify, health, models, pushing, sample
from service.cli.stack import demo, serve, up
from service.cli.training import distil, export, pack, probe, recipes, runs, train

# Processes are started beside open channels; gRPC's fork handlers would only complain about them.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def _print_version(wanted: bool) -> None:
    """Print the version, of the package as it is installed."""
    if wanted:
        from importlib.metadata import version

        typer.echo(f"mintage {version('mintage')}")
        raise typer.Exit


app = Verbs("mintage", "Train GANs and autoencoders, serve them over gRPC, and mint images in bulk.", root=True)
for verb in (
    demo,
    up,
    recipes,
    train,
    runs,
    probe,
    distil,
    neurons,
    export,
    pack,
    push,
    models,
    pushing,
    sample,
    explore,
    classify,
    jobs,
    score,
    bench,
    health,
    settings,
    serve,
):
    verb.register(app)


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Train GANs and autoencoders, serve them over gRPC, and mint images in bulk."""


def main() -> None:
    """Run the `mintage` command."""
    interrupts.end_by_sigterm()
    try:
        app()
    except SystemExit as ended:
        interrupts.leave(ended.code)
        raise
