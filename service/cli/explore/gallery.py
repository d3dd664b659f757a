"""`mintage explore gallery`: a sheet of numbered samples, to choose exemplars from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from service.cli.console import DEFAULT_API, ApiOption, JsonOption, connect, fail, friendly_errors
from service.cli.explore.again import again
from service.cli.explore.drawing import check_picture, drawn
from service.cli.explore.options import GeneratorArgument, SeedOption, SheetOption, class_note
from service.cli.formula_options import ClassOption
from service.cli.json_lines import print_json

COLUMNS = 10


def gallery(
    context: typer.Context,
    model: GeneratorArgument,
    *,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=1000, help="Number of samples.")] = 100,
    seed: SeedOption = 0,
    first_index: Annotated[int, typer.Option(min=0, help="Index of the first sample.")] = 0,
    class_index: ClassOption = None,
    output: SheetOption = Path("gallery.png"),
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Draw a sheet of numbered samples; their numbers are what formulas call them.

    Example: mintage explore gallery faces -n 200 -o gallery.png
    """
    from mintage import latents

    from service.images.sheets import Panel, Sheet, Tile, write_sheet

    check_picture(output, [".png"])
    if first_index + count - 1 > latents.MAX_INDEX:
        fail(f"--first-index {first_index}: the last sample has index {latents.MAX_INDEX}")
    chosen = [latents.sample(seed, first_index + number) for number in range(count)]
    with friendly_errors(), connect(api) as client:
        images = drawn(client, model, chosen, class_index)
    prefix = f"{seed}#" if seed else "#"
    tiles = [Tile(image, f"{prefix}{first_index + number}") for number, image in enumerate(images)]
    command = again(context)
    last = first_index + count - 1
    write_sheet(
        Sheet(
            title=f"Samples of {model}",
            subtitle=f"seed {seed}, samples {first_index} to {last}{class_note(class_index)}",
            bands=[[Panel("", tiles, COLUMNS)]],
            command=command,
        ),
        output,
    )
    if as_json:
        print_json({"file": str(output), "seed": seed, "first_index": first_index, "images": count, "command": command})
    else:
        typer.echo(f"{count} samples in {output}\n{command}")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(gallery)
