"""The `mintage` command: one file a verb, assembled here. The one place that may reach every package, lazily."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="mintage",
    help="Train GANs and autoencoders, serve them over gRPC, and mint images in bulk.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the `mintage` command."""
    app()
