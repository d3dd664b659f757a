"""The `mintage` command: one file per verb, assembled here. The one place that may reach every package, lazily."""

from __future__ import annotations

import os

import typer

from service.cli import settings
from service.cli.explore import verbs as explore
from service.cli.jobs import verbs as jobs
from service.cli.neurons import verbs as neurons
from service.cli.scores import score
from service.cli.serving import bench, classify, health, models, sample
from service.cli.stack import demo, serve, up
from service.cli.training import distil, export, pack, probe, recipes, train

# Processes are started beside open channels; gRPC's fork handlers would only complain about them.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

app = typer.Typer(
    name="mintage",
    help="Train GANs and autoencoders, serve them over gRPC, and mint images in bulk.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for verb in (
    demo,
    up,
    recipes,
    train,
    probe,
    distil,
    neurons,
    export,
    pack,
    models,
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


def main() -> None:
    """Run the `mintage` command."""
    app()
