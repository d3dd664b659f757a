"""What the verbs of `mintage explore` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

GeneratorArgument = Annotated[str, typer.Argument(metavar="MODEL", help="A loaded generator.", show_default=False)]
SeedOption = Annotated[
    int, typer.Option(min=0, max=2**64 - 1, help="Seed of samples that are written without one, as in #12.")
]
SheetOption = Annotated[Path, typer.Option("-o", "--output", help="A .png file.")]
SaveOption = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Save it for the model, so that formulas can name it.", show_default="not saved"),
]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Replace what has the name already.")]
FpsOption = Annotated[float, typer.Option(min=0.1, max=100, help="Frames of an animation per second.")]


def class_note(class_index: int | None) -> str:
    """Say which class was asked for, behind something else."""
    return "" if class_index is None else f", class {class_index}"
