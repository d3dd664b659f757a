"""`mintage neurons detect`: the concepts that a served model's neurons detect in images.

mintage neurons detect holiday/*.jpg --concept face
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import DEFAULT_API, ApiOption, JsonLinesOption, connect, console, friendly_errors, table
from service.cli.described import described
from service.cli.json_lines import print_json_lines

if TYPE_CHECKING:
    from mintage.client import Client, Detections
    from PIL import Image


def detect(
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    *,
    model: Annotated[str, typer.Option(help="Name of a loaded autoencoder.")] = "face-neuron",
    concept: Annotated[
        list[str] | None,
        typer.Option(help="Concept to detect; may be repeated.", show_default="every concept of the model"),
    ] = None,
    resize: Annotated[
        bool,
        typer.Option(
            "--resize/--no-resize",
            help="Bring images to the model's size here, before they are sent: the largest centred part, resized as in "
            "training. Without it images must have that size.",
        ),
    ] = True,
    api: ApiOption = DEFAULT_API,
    as_json: JsonLinesOption = False,
) -> None:
    """Detect concepts in images, with the neuron's activation and the confidence.

    Example: mintage neurons detect holiday/*.jpg --concept face
    """
    with friendly_errors(), connect(api) as client:
        sent = _resized(client, model, images) if resize else images
        said = client.detect(model, sent, concepts=concept or ())
    found = [_of_one(path, said, row) for row, path in enumerate(images)]
    if as_json:
        print_json_lines(found)
    else:
        _print_table(found)


def register(app: typer.Typer) -> None:
    """Add the verb to `mintage neurons`."""
    app.command()(detect)


def _resized(client: Client, model: str, images: list[Path]) -> list[Image.Image]:
    """Resize images to a model's size."""
    from mintage.pictures import fitted

    shape = described(client, model).shape
    return [fitted(path, shape.height, shape.width) for path in images]


def _of_one(path: Path, said: Detections, row: int) -> dict[str, Any]:
    concepts = [
        {
            "concept": name,
            "detected": bool(said.detected[row, column]),
            "confidence": float(said.confidences[row, column]),
            "activation": float(said.activations[row, column]),
        }
        for column, name in enumerate(said.concepts)
    ]
    return {"image": str(path), "concepts": concepts}


def _print_table(found: list[dict[str, Any]]) -> None:
    rows = [
        (
            each["concept"],
            "yes" if each["detected"] else "no",
            f"{each['confidence']:.1%}",
            f"{each['activation']:.4g}",
            one["image"],
        )
        for one in found
        for each in one["concepts"]
    ]
    columns = ("concept", "detected", "confidence", "activation", "image")
    console().print(table(columns, rows, right=("confidence", "activation")))
