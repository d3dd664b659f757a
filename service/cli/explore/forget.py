"""`mintage explore forget`: draw images without the feature maps that draw an object.

mintage explore forget faces-generator --detector face-neuron --concept face -o forgotten.png
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import DEFAULT_API, ApiOption, JsonOption, connect, fail, friendly_errors
from service.cli.explore.again import again
from service.cli.explore.drawing import check_picture, drawn, read_formulas
from service.cli.explore.options import GeneratorArgument, SeedOption, SheetOption, class_note
from service.cli.formula_options import ClassOption
from service.cli.json_lines import print_json

if TYPE_CHECKING:
    import numpy as np
    from mintage.client import Box, FoundMaps
    from mintage.v1.latents_pb2 import Latent
    from numpy.typing import NDArray

    from service.images.sheets import Tile

MAX_PIXELS = 2**31 - 1  # that a message can name
SAMPLES = "#0:149:150"  # as many as in the paper
COLUMNS = 6


def forget(
    context: typer.Context,
    model: GeneratorArgument,
    formulas: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FORMULA]...", help="Images to look at, 1,024 at most.", show_default=SAMPLES),
    ] = None,
    *,
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="A JSON file of boxes around the object, drawn by hand: a list of objects with index (of the image, "
            "from 0), left, top, width and height, in pixels."
        ),
    ] = None,
    detector: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="A loaded model whose saliency gives the boxes, in place of --boxes."),
    ] = None,
    concept: Annotated[str | None, typer.Option(help="What an autoencoder looks for, such as face.")] = None,
    detector_class: Annotated[
        str | None, typer.Option(metavar="NAME", help="What a classifier looks for, by the name of a class.")
    ] = None,
    layer: Annotated[
        int, typer.Option(min=0, help="Layer, from 1, next to the latent.", show_default="the second-highest")
    ] = 0,
    top: Annotated[
        int | None,
        typer.Option(min=1, help="Drop only so many maps, the strongest.", show_default="all of positive weight"),
    ] = None,
    show: Annotated[int, typer.Option(min=1, max=60, help="Images to show, those with boxes first.")] = 18,
    seed: SeedOption = 0,
    class_index: ClassOption = None,
    output: SheetOption = Path("forgotten.png"),
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Find the feature maps that draw an object, and draw the same images with and without them.

    A logistic regression tells places inside the boxes from places outside by the layer's activations, as in section
    6.3.1 of Radford et al. 2015. The maps of positive weight are dropped: set to 0 everywhere.

    Example: mintage explore forget faces '#0:299:300' --detector face-neuron --concept face -o forgotten.png
    """
    from service.images.sheets import Panel, Sheet, write_sheet

    check_picture(output, [".png"])
    if (boxes is None) == (detector is None):
        fail("say where the object is: by --boxes FILE or by --detector MODEL")
    if detector is None and (concept or detector_class):
        fail("--concept and --detector-class belong to --detector")
    latents = read_formulas(formulas or [SAMPLES], seed=seed)
    command = again(context)
    with friendly_errors(), connect(api) as client:
        images = drawn(client, model, latents, class_index)
        if boxes is not None:
            around = _read_boxes(boxes)
        else:
            from service.cli.explore.saliency import boxes_by

            around = boxes_by(client, detector or "", images, concept=concept, class_name=detector_class)
        if not around:
            if boxes is not None:
                fail(f"{boxes} holds no box")
            fail(f"{detector} sees nothing like that in {len(latents)} images; look at more, or draw boxes by hand")
        found = client.find_feature_maps(model, latents, around, layer=layer, class_index=class_index)
        dropped = found.drawing[:top]
        chosen = _chosen(around, len(latents), show)
        without = drawn(client, model, [latents[each] for each in chosen], class_index, drop={found.layer: dropped})
    boxed = {box.index for box in around}
    before = [_tile(images[each], latents[each], [box for box in around if box.index == each]) for each in chosen]
    after = [_tile(image, latents[each], []) for each, image in zip(chosen, without, strict=True)]
    sheet = Sheet(
        title=f"What {model} forgot",
        subtitle=_summary(found, dropped, len(boxed)) + class_note(class_index),
        bands=[
            [
                Panel("as they were, with the boxes", before, COLUMNS // 2),
                Panel(f"without {len(dropped)} of {len(found.weights)} maps", after, COLUMNS // 2),
            ]
        ],
        command=command,
        notes=[f"Digest {found.digest[:12]}. Layer {found.layer}, maps {', '.join(map(str, sorted(dropped)))}."],
    )
    write_sheet(sheet, output)
    if as_json:
        print_json(_described(output, found, dropped, around, command))
    else:
        typer.echo(f"{_summary(found, dropped, len(boxed))}; {output}\n{command}")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(forget)


def _read_boxes(path: Path) -> list[Box]:
    """Read boxes; exits with 2 if the file holds something else."""
    from mintage.client import Box

    try:
        listed = list(json.loads(path.read_text(encoding="utf-8")))
        boxes = [Box(**{name: int(box[name]) for name in Box.__slots__}) for box in listed]
        if any(abs(getattr(box, name)) > MAX_PIXELS for box in boxes for name in Box.__slots__):
            raise ValueError
        return boxes
    except OSError as error:
        fail(f"{path}: {error.strerror}")
    except (KeyError, OverflowError, TypeError, ValueError):
        fail(f'{path}: must be a list of boxes such as {{"index": 0, "left": 8, "top": 20, "width": 16, "height": 12}}')


def _chosen(boxes: list[Box], images: int, show: int) -> list[int]:
    """Choose images to show, those with boxes first."""
    boxed = {box.index for box in boxes}
    return sorted(range(images), key=lambda each: (each not in boxed, each))[:show]


def _tile(image: NDArray[np.uint8], latent: Latent, boxes: list[Box]) -> Tile:
    from mintage.latents import text_of

    from service.cli.explore.images import framed
    from service.images.sheets import TILE, Tile, enlargement

    found = [(box.left, box.top, box.width, box.height) for box in boxes]
    text = text_of(latent)
    return Tile(
        framed(image, found, enlargement(image, TILE)), text.removeprefix("0") if text.startswith("0#") else text
    )


def _summary(found: FoundMaps, dropped: list[int], boxed: int) -> str:
    return (
        f"{len(dropped)} of {len(found.weights)} maps of layer {found.layer} dropped, found from boxes in {boxed} "
        f"images; {found.accuracy:.1%} of held-out places told apart"
    )


def _described(output: Path, found: FoundMaps, dropped: list[int], boxes: list[Box], command: str) -> dict[str, Any]:
    return {
        "file": str(output),
        "digest": found.digest,
        "layer": found.layer,
        "dropped": dropped,
        "weights": {str(each): weight for each, weight in found.weights.items()},
        "accuracy": found.accuracy,
        "boxes": [{name: getattr(box, name) for name in type(box).__slots__} for box in boxes],
        "command": command,
    }
