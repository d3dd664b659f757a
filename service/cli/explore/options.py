"""What the verbs of `mintage explore` share."""

from __future__ import annotations

from typing import Annotated

import typer

GeneratorArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A loaded generator.", show_default=False)]
SeedOption = Annotated[
    int, typer.Option(min=0, max=2**64 - 1, help="Seed of samples that are written without one, as in #12.")
]
FpsOption = Annotated[float, typer.Option(min=0.1, max=100, help="Frames of an animation per second.")]


def class_note(class_index: int | None) -> str:
    """Say which class was asked for, behind something else."""
    return "" if class_index is None else f", class {class_index}"
