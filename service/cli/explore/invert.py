"""`mintage explore invert`: the latent of a picture, so that walks and arithmetic can start from it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import DEFAULT_API, ApiOption, JsonOption, connect, errors_console, friendly_errors
from service.cli.described import described
from service.cli.explore.again import again
from service.cli.explore.drawing import check_picture
from service.cli.explore.options import GeneratorArgument, ReplaceOption, SaveOption, SheetOption
from service.cli.json_lines import print_json

if TYPE_CHECKING:
    from mintage.client import Client, Inversion
    from PIL import Image


def invert(
    context: typer.Context,
    model: GeneratorArgument,
    picture: Annotated[
        Path, typer.Argument(metavar="PICTURE", help="A PNG or JPEG file of any size.", show_default=False)
    ],
    *,
    starts: Annotated[int, typer.Option(min=1, max=64, help="Number of starts, of which the best is kept.")] = 8,
    steps: Annotated[int, typer.Option(min=1, max=2000, help="Steps of the search.")] = 300,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Seed of the starts.")] = 0,
    pixels_only: Annotated[
        bool,
        typer.Option("--pixels-only", help="Compare pixels alone; without it the discriminator must be loaded too."),
    ] = False,
    class_index: Annotated[
        int | None,
        typer.Option("--class", metavar="K", min=0, help="Class of a conditional generator.", show_default="0"),
    ] = None,
    save: SaveOption = None,
    replace: ReplaceOption = False,
    output: SheetOption = Path("inverted.png"),
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Search for the latent whose image is nearest to a picture.

    The picture is cropped to its largest centred part and resized to the model's size. The error is the root mean
    square difference of pixels, from 0 to 255; how small it can be depends on how much the generator can draw.

    Example: mintage explore invert faces photo.jpg --save me && mintage explore walk faces me '#12' -o walk.webp
    """
    from PIL import Image

    from service.cli.explore.images import loaded

    check_picture(output, [".png"])
    command = again(context)
    with friendly_errors(), connect(api) as client:
        shape = described(client, model).shape
        [pixels] = loaded([picture], shape)
        given = Image.fromarray(pixels[:, :, 0] if shape.channels == 1 else pixels)
        options = {"starts": starts, "steps": steps, "seed": seed, "pixels_only": pixels_only}
        found = _watched(client, model, given, class_index=class_index, **options)
        if save is not None:
            client.save_direction(model, save, found.values, replace=replace)
    _write(found, given, output, title=f"{picture.name} as {model} draws it", command=command)
    if as_json:
        print_json(
            {
                "file": str(output),
                "values": found.values.tolist(),
                "pixel_error": found.pixel_error,
                "loss": found.loss,
                "steps": found.steps,
                "name": save,
                "command": command,
            }
        )
        return
    saved = f", saved as {save}" if save else ""
    typer.echo(f"pixels differ by {found.pixel_error:.1f} of 255 (root mean square){saved}; {output}\n{command}")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(invert)


def _watched(client: Client, model: str, given: Image.Image, **options: object) -> Inversion:
    """Take the whole search; on a terminal, a bar shows how far it is and how near the best image."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    screen = errors_console()
    columns = BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn()
    with Progress(*columns, console=screen, disable=not screen.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=None)
        for found in client.invert(model, given, **options):  # type: ignore[arg-type]
            progress.update(task, total=found.steps, completed=found.step)
            progress.update(task, description=f"pixels differ by {found.pixel_error:.1f}")
    return found


def _write(found: Inversion, given: Image.Image, output: Path, *, title: str, command: str) -> None:
    import numpy as np

    from service.images.sheets import Panel, Sheet, Tile, write_sheet

    pixels = np.asarray(given, np.uint8).reshape(found.image.shape)
    far = np.abs(pixels.astype(np.int16) - found.image).astype(np.uint8)
    panels = [
        Panel("the picture", [Tile(pixels)], 1, scale=2),
        Panel("the image of its latent", [Tile(found.image)], 1, scale=2),
        Panel("their difference", [Tile(far)], 1, scale=2),
    ]
    told = f"pixels differ by {found.pixel_error:.1f} of 255 (root mean square) after {found.steps} steps"
    write_sheet(Sheet(title, told, [panels], command), output)
