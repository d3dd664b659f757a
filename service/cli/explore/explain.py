"""`mintage explore explain`: which pixels of images excite a unit, beside the same form with random weights.

mintage explore explain faces-discriminator me.jpg you.jpg -o explained.png
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import DEFAULT_API, ApiOption, JsonOption, connect, fail, friendly_errors
from service.cli.described import described
from service.cli.explore.again import again
from service.cli.explore.drawing import check_picture
from service.cli.explore.options import SheetOption
from service.cli.json_lines import print_json

if TYPE_CHECKING:
    from mintage.client import FeatureMap, GuidedGradients, Neuron

MAX_IMAGES = 64


def explain(
    context: typer.Context,
    model: Annotated[
        str, typer.Argument(help="A loaded discriminator, classifier or autoencoder.", show_default=False)
    ],
    images: Annotated[
        list[Path], typer.Argument(help="Image files or folders of them, 64 images at most.", show_default=False)
    ],
    *,
    unit: Annotated[
        str | None,
        typer.Option(
            metavar="LAYER:MAP",
            help="Explain a feature map, numbered from 0, of a layer, numbered from 1; of an autoencoder a unit of a "
            "stage, or its low end: 2:3:-1.",
        ),
    ] = None,
    concept: Annotated[str | None, typer.Option(help="Explain the neuron of this concept, of an autoencoder.")] = None,
    class_name: Annotated[
        str | None,
        typer.Option(
            "--class",
            metavar="NAME",
            help="Explain the logit of this class.",
            show_default="'real' of a discriminator, a classifier's most probable class",
        ),
    ] = None,
    output: SheetOption = Path("explained.png"),
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Show by guided backpropagation which pixels of images excite a unit.

    Three pictures for each image: itself, brought to the model's size; the guided gradient, grey where a pixel does not
    matter, each scaled for itself; and the same of a network of that form with random weights. What both show, edges
    for example, comes from the form and not from what was learnt.

    Example: mintage explore explain face-neuron holiday/*.jpg --concept face -o explained.png
    """
    from service.cli.explore.images import files_of, loaded, shown
    from service.images.sheets import Panel, Sheet, Tile, write_sheet

    check_picture(output, [".png"])
    if sum(each is not None for each in (unit, concept, class_name)) > 1:
        fail("name one of --unit, --concept and --class")
    command = again(context)
    images = files_of(images, MAX_IMAGES)
    with friendly_errors(), connect(api) as client:
        asked = described(client, model)
        kind = type(asked).Kind.Name(asked.kind)
        is_autoencoder = kind == "KIND_NEURONS"
        if is_autoencoder and (class_name is not None or (unit is None and concept is None)):
            fail(f"{model} is an autoencoder: --concept NAME or --unit STAGE:UNIT says what to explain")
        if concept is not None and not is_autoencoder:
            fail(f"{model} has no concepts: --unit LAYER:MAP or --class NAME says what to explain")
        chosen: Any = concept if unit is None else _unit(unit, of_autoencoder=is_autoencoder)
        pixels = loaded(images, asked.shape)
        found, baseline = (
            client.guided_backprop(model, pixels, class_name=class_name, unit=chosen, random_weights=random)
            for random in (False, True)
        )
    tiles = [
        tile
        for number, image in enumerate(pixels)
        for tile in (
            Tile(image, images[number].name),
            Tile(shown(found.gradients[number]), f"value {found.activations[number]:.3g}"),
            Tile(shown(baseline.gradients[number]), "random weights"),
        )
    ]
    sheet = Sheet(
        title=f"What {model} responds to",
        subtitle=_target(unit, concept, class_name, is_classifier=kind == "KIND_CLASSIFIER"),
        bands=[[Panel("image, guided gradient, and that of random weights", tiles, 3 * _columns(len(images)))]],
        command=command,
        notes=[f"Digest {found.digest[:12]}. Each gradient is scaled for itself; grey is 0."],
    )
    write_sheet(sheet, output)
    if as_json:
        print_json(_described(output, images, found, command))
    else:
        typer.echo(f"{len(images)} image{'s' if len(images) > 1 else ''} explained in {output}\n{command}")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(explain)


def _unit(text: str, *, of_autoencoder: bool) -> FeatureMap | Neuron:
    """Read a unit; exits with 2 if it is none."""
    from mintage.client import FeatureMap, Neuron

    try:
        numbers = [int(each) for each in text.split(":")]
    except ValueError:
        numbers = []
    if of_autoencoder and len(numbers) in (2, 3):
        return Neuron(*numbers)
    if len(numbers) != 2:
        fail(f"--unit must be two whole numbers such as 3:17, not {text!r}")
    return FeatureMap(*numbers)


def _target(unit: str | None, concept: str | None, class_name: str | None, *, is_classifier: bool) -> str:
    if unit is not None:
        return f"unit {unit}"
    if concept is not None:
        return f"the neuron of {concept}"
    if class_name is not None:
        return f"the logit of class {class_name}"
    return "the logit of each image's most probable class" if is_classifier else "the logit of 'real'"


def _columns(images: int) -> int:
    """Images side by side."""
    return 1 if images <= 4 else 2 if images <= 12 else 3


def _described(output: Path, images: list[Path], found: GuidedGradients, command: str) -> dict[str, Any]:
    values = [
        {"image": str(path), "activation": float(value)} for path, value in zip(images, found.activations, strict=True)
    ]
    return {"file": str(output), "digest": found.digest, "images": values, "command": command}
