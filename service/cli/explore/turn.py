"""`mintage explore turn`: a direction from samples that lack a property to samples that have it, applied to others."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import DEFAULT_API, ApiOption, JsonOption, connect, friendly_errors
from service.cli.explore.again import again
from service.cli.explore.drawing import check_picture, drawn
from service.cli.explore.options import (
    GeneratorArgument,
    ReplaceOption,
    SaveOption,
    SeedOption,
    SheetOption,
    class_note,
)
from service.cli.explore.turning import (
    ApplyOption,
    StrengthsOption,
    name_of,
    read_set,
    read_strengths,
    turned,
    turned_panel,
)
from service.cli.formula_options import ClassOption
from service.cli.json_lines import print_json

if TYPE_CHECKING:
    import numpy as np
    from mintage.v1.latents_pb2 import Latent
    from numpy.typing import NDArray

    from service.images.sheets import Panel

COLUMNS = 8  # exemplars in a row


def turn(
    context: typer.Context,
    model: GeneratorArgument,
    *,
    without: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="LATENTS",
            help="Samples that lack it, between commas: '#1,#4,#9,#12'.",
            show_default=False,
        ),
    ],
    having: Annotated[
        str,
        typer.Option(
            "--to", metavar="LATENTS", help="Samples that have it, between commas: '#2,#3,#7,#8'.", show_default=False
        ),
    ],
    apply: ApplyOption = "#20:#27",
    strengths: StrengthsOption = "-2:2:9",
    save: SaveOption = None,
    replace: ReplaceOption = False,
    seed: SeedOption = 0,
    class_index: ClassOption = None,
    output: SheetOption = Path("turned.png"),
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Find the direction from some samples to others, and apply it to new ones at a row of strengths.

    It is the mean of those that have a property minus the mean of those that lack it; about four of each are enough if
    they have little else in common. Strength 1 is the whole way from one mean to the other.

    Example: mintage explore turn faces --from '#1,#4,#9,#12' --to '#2,#3,#7,#8' --apply '#20:#27' --save turn
    """
    from mintage.latents import text_of

    from service.images.sheets import Sheet, write_sheet

    check_picture(output, [".png"])
    sets = read_set(without, seed=seed), read_set(having, seed=seed)
    applied, amounts, command = read_set(apply, seed=seed), read_strengths(strengths), again(context)
    difference = _difference(*sets)
    wanted = [*sets[0], *sets[1], *turned(applied, difference, amounts)]
    with friendly_errors(), connect(api) as client:
        images = drawn(client, model, wanted, class_index)
        found = client.direction_between(model, *sets)
        if save is not None:
            found = client.save_direction(model, save, found, replace=replace)
    count = len(sets[0]) + len(sets[1])
    formula = text_of(difference) if save is None else save
    sheet = Sheet(
        title=f"A direction of {model}{f', {save}' if save else ''}",
        subtitle=f"{formula}, seed {seed}{class_note(class_index)}",
        bands=[
            _exemplars(images, sets),
            [turned_panel("added to other samples, times the number below", images[count:], applied, amounts)],
        ],
        command=command,
    )
    write_sheet(sheet, output)
    if as_json:
        formulas = list(map(text_of, wanted[count:]))
        print_json(
            {
                "file": str(output),
                "direction": {"name": found.name, "values": list(found.values), "model_digest": found.model_digest},
                "formula": text_of(difference),
                "images": formulas,
                "command": command,
            }
        )
        return
    saved = f", saved as {save}: `mintage sample {model} --latent '#5 + {save} * -2:2:9'`" if save else ""
    typer.echo(f"{len(applied)} samples at {len(amounts)} strengths in {output}{saved}\n{command}")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(turn)


def _difference(without: list[Latent], having: list[Latent]) -> Latent:
    """Write the direction as a formula."""
    from mintage.v1 import latents_pb2
    from mintage.v1.latents_pb2 import Latent

    means = [Latent(mean=latents_pb2.LatentList(latents=latents)) for latents in (having, without)]
    term = latents_pb2.LatentSum.Term
    return Latent(sum=latents_pb2.LatentSum(terms=[term(weight=1, latent=means[0]), term(weight=-1, latent=means[1])]))


def _exemplars(images: NDArray[np.uint8], sets: tuple[list[Latent], list[Latent]]) -> list[Panel]:
    from service.images.sheets import Panel, Tile

    names = [name_of(latent) for latents in sets for latent in latents]
    tiles = [Tile(image, name) for image, name in zip(images, names, strict=False)]
    split = len(sets[0])
    return [Panel("from the mean of", tiles[:split], COLUMNS), Panel("to the mean of", tiles[split:], COLUMNS)]
