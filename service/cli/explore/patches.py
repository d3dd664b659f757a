"""`mintage explore patches`: the patches of images that excite each feature map most.

mintage explore patches faces-discriminator photos/ -o patches.png
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import DEFAULT_API, ApiOption, JsonOption, connect, friendly_errors
from service.cli.described import described
from service.cli.explore.again import again
from service.cli.explore.drawing import check_picture
from service.cli.explore.options import SheetOption
from service.cli.json_lines import print_json

if TYPE_CHECKING:
    import numpy as np
    from mintage.client import Box, FeatureMap, Patch
    from numpy.typing import NDArray

MAX_IMAGES = 1024
PANELS = 4  # maps side by side
PAPER = 235  # level of what lies outside of an image


def patches(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="A loaded discriminator or classifier with convolutions.", show_default=False)
    ],
    images: Annotated[
        list[Path], typer.Argument(help="Image files or folders of them, 1,024 images at most.", show_default=False)
    ],
    *,
    layer: Annotated[
        int, typer.Option(min=0, help="Layer, from 1, next to the images.", show_default="the last one")
    ] = 0,
    maps: Annotated[
        list[int] | None,
        typer.Option(
            "--map", min=0, help="Feature map, from 0; may be repeated.", show_default="the 16 that vary most"
        ),
    ] = None,
    count: Annotated[int, typer.Option("-n", "--count", min=1, max=64, help="Patches for each map.")] = 9,
    output: SheetOption = Path("patches.png"),
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Show the patches of images that excite feature maps most, each of another image.

    A patch is what the unit can see, its receptive field. Images are brought to the model's size.

    Example: mintage explore patches faces-discriminator photos/ --layer 3 -o patches.png
    """
    from service.cli.explore.images import files_of, loaded
    from service.images.sheets import Panel, Sheet, Tile, write_sheet

    check_picture(output, [".png"])
    command = again(context)
    images = files_of(images, MAX_IMAGES)
    with friendly_errors(), connect(api) as client:
        asked = described(client, model)
        pixels = loaded(images, asked.shape)
        found = client.top_patches(model, pixels, layer=layer, maps=maps or (), count=count)
    side = max(max(patch.box.width, patch.box.height) for each in found.values() for patch in each)
    columns = max(each for each in range(1, 9) if each * each <= max(count, 1))
    panels = [
        Panel(
            f"map {each.map}",
            [Tile(_cut(pixels, patch.box, side), f"{patch.activation:.3g}") for patch in strongest],
            columns,
        )
        for each, strongest in found.items()
    ]
    used = next(iter(found)).layer
    sheet = Sheet(
        title=f"What excites {model}",
        subtitle=f"layer {used}: the patches that excite each map most, each of another one of {len(images)} images",
        bands=[panels[first : first + PANELS] for first in range(0, len(panels), PANELS)],
        command=command,
        notes=[f"Digest {asked.digest[:12]}. Below a patch: the activation. A unit of this layer sees {side} pixels."],
    )
    write_sheet(sheet, output)
    if as_json:
        print_json(_described(output, images, found, command))
    else:
        typer.echo(f"the patches of {len(found)} maps of layer {used} in {output}\n{command}")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(patches)


def _cut(images: NDArray[np.uint8], box: Box, side: int) -> NDArray[np.uint8]:
    """Cut a patch out, in the middle of a square that has room for the largest."""
    import numpy as np

    patch = images[box.index, box.top : box.top + box.height, box.left : box.left + box.width]
    square = np.full((side, side, images.shape[3]), PAPER, np.uint8)
    top, left = (side - box.height) // 2, (side - box.width) // 2
    square[top : top + box.height, left : left + box.width] = patch
    return square


def _described(output: Path, images: list[Path], found: dict[FeatureMap, list[Patch]], command: str) -> dict[str, Any]:
    maps = [
        {
            "layer": each.layer,
            "map": each.map,
            "patches": [
                {
                    "image": str(images[patch.box.index]),
                    "left": patch.box.left,
                    "top": patch.box.top,
                    "width": patch.box.width,
                    "height": patch.box.height,
                    "activation": patch.activation,
                }
                for patch in strongest
            ],
        }
        for each, strongest in found.items()
    ]
    return {"file": str(output), "maps": maps, "command": command}
