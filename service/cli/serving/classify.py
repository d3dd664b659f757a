"""`mintage classify`: classify image files with a loaded classifier.

mintage classify judge images/*.png --top 2
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import DEFAULT_API, ApiOption, JsonLinesOption, connect, console, fail, friendly_errors, table
from service.cli.described import described
from service.cli.json_lines import print_json_lines

if TYPE_CHECKING:
    from mintage.client import Classifications
    from mintage.v1.models_pb2 import Model
    from PIL import Image

BAR_CELLS = 12  # characters of a bar


def classify(
    model: Annotated[str, typer.Argument(help="Name of a loaded classifier.")],
    images: Annotated[
        list[Path], typer.Argument(help="PNG, JPEG, WebP, BMP, GIF, TIFF or PPM files of the model's size.")
    ],
    *,
    top: Annotated[int, typer.Option(min=1, help="Classes to show per image.")] = 1,
    fit: Annotated[
        bool,
        typer.Option(
            "--fit",
            help="Bring images to the model's size here, before they are sent: the largest centred part, resized as in "
            "training.",
        ),
    ] = False,
    api: ApiOption = DEFAULT_API,
    as_json: JsonLinesOption = False,
) -> None:
    """Show the most probable classes of images, and how likely each image is to be generated.

    Example: mintage classify digits-classifier digit.png --top 3 --fit
    """
    with friendly_errors(), connect(api) as client:
        answer = client.classify(model, _brought(described(client, model), images, fit=fit))
    found = [_of_one(path, answer, row, top) for row, path in enumerate(images)]
    if as_json:
        print_json_lines(found)
    else:
        _print_table(found)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(classify)


def _brought(model: Model, images: list[Path], *, fit: bool) -> list[Path] | list[Image.Image]:
    """The images in the model's size: resized if that is asked for, else they must have it."""
    from mintage.pictures import fitted

    height, width = model.shape.height, model.shape.width
    if fit:
        return [fitted(path, height, width) for path in images]
    for path in images:
        size = _size(path)
        if size != (width, height):
            fail(f"{path} is {size[0]}x{size[1]}, the model takes {width}x{height}: --fit")
    return images


def _size(path: Path) -> tuple[int, int]:
    """Width and height of an image file, read from its first bytes."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return image.size
    except UnidentifiedImageError:
        fail(f"{path} is no image that can be read; PNG and JPEG files can")


def _of_one(path: Path, answer: Classifications, row: int, top: int) -> dict[str, Any]:
    order = answer.probabilities[row].argsort()[::-1][:top]
    classes = [
        {"class": answer.classes[index], "probability": float(answer.probabilities[row, index])} for index in order
    ]
    generated = None if answer.generated is None else float(answer.generated[row])
    return {"image": str(path), "classes": classes, "generated": generated}


def _print_table(found: list[dict[str, Any]]) -> None:
    rows = []
    for one in found:
        generated = "" if one["generated"] is None else _bar(one["generated"])
        for number, each in enumerate(one["classes"]):
            first = number == 0
            rows.append(
                (one["image"] if first else "", each["class"], _bar(each["probability"]), generated if first else "")
            )
    console().print(table(("image", "class", "probability", "generated"), rows))


def _bar(probability: float) -> str:
    """A number from 0 to 1 and a bar of it."""
    full = round(probability * BAR_CELLS)
    return f"{probability:6.1%} {'█' * full}{'·' * (BAR_CELLS - full)}"
