"""Options of the verbs that draw latents."""

from __future__ import annotations

from typing import Annotated

import typer

LatentOption = Annotated[
    list[str] | None,
    typer.Option(
        "--latent",
        metavar="FORMULA",
        help="Draw a formula instead of samples, such as 'mean(#12, #40) - #3 + turn * 2'; a range such as 0:1:64 in "
        "place of a number makes frames. May be repeated. docs/exploring.md has the grammar.",
    ),
]
ClassOption = Annotated[
    int | None,
    typer.Option(
        "--class",
        metavar="K",
        min=0,
        help="Class of the images of a conditional generator, from 0.",
        show_default="that of the first sample in each formula",
    ),
]
