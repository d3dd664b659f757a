"""`mintage explore walk`: images along the way from one latent to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import DEFAULT_API, ApiOption, JsonOption, connect, fail, friendly_errors
from service.cli.data_options import SOURCES, bars, data_options, load_split
from service.cli.explore.again import again
from service.cli.explore.drawing import check_picture, read_formulas
from service.cli.explore.options import FpsOption, GeneratorArgument, SeedOption, class_note
from service.cli.formula_options import ClassOption
from service.cli.json_lines import print_json

if TYPE_CHECKING:
    import numpy as np
    from mintage.client import Client
    from mintage.v1.latents_pb2 import Latent
    from numpy.typing import NDArray

    from service.images.sheets import Sheet

COLUMNS = 17  # frames in a row of the strip at most: a leg of 16 and the latent at its end
MAX_STRIP = 1024  # frames on a sheet


def walk(
    context: typer.Context,
    model: GeneratorArgument,
    formulas: Annotated[
        list[str],
        typer.Argument(
            metavar="FORMULA", help="The latents to walk through, at least two: '#12' '#40'.", show_default=False
        ),
    ],
    *,
    frames: Annotated[int, typer.Option(min=1, max=1024, help="Frames from each latent to the next.")] = 16,
    linear: Annotated[
        bool, typer.Option("--linear/--spherical", help="Go along straight lines instead of arcs.")
    ] = False,
    closed: Annotated[bool, typer.Option("--closed/--open", help="Return to the first latent at the end.")] = False,
    seed: SeedOption = 0,
    class_index: ClassOption = None,
    nearest: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help=f"Show under each frame the training image nearest to it by pixels: {SOURCES}.",
            show_default=False,
        ),
    ] = None,
    fps: FpsOption = 16,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .png for a strip with captions, a .webp or .apng to move.")
    ] = Path("walk.png"),
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Walk from latent to latent, and show how far each frame is from the one before it.

    Distances are root mean square differences of pixels, from 0 to 255; a jump among them is a place where the image
    changes at once.

    Example: mintage explore walk faces '#12' '#40' '#77' --closed -o walk.webp
    """
    from service.images.sheets import write_animation, write_sheet

    suffix = check_picture(output)
    through = read_formulas(formulas, seed=seed)
    if len(through) < 2:
        fail("a walk goes through at least two latents, such as '#12' '#40'")
    if nearest is not None and suffix != ".png":
        fail(f"{output}: the nearest training images are shown on a strip; name a .png")
    command = again(context)
    with friendly_errors(), connect(api) as client:
        walked = _walked(client, model, through, frames=frames, linear=linear, closed=closed, class_index=class_index)
        _check_length(walked, output)
        memories = _memories(walked, nearest) if nearest is not None else None
    if suffix == ".png":
        ways = "straight lines" if linear else "arcs"
        subtitle = f"{len(walked.images)} frames along {ways}, seed {seed}{class_note(class_index)}"
        write_sheet(_sheet(f"A walk of {model}", subtitle, walked, memories, frames=frames, command=command), output)
    else:
        write_animation(walked.images, output, fps=fps, command=command)
    if as_json:
        print_json(_described(output, walked, memories, command))
        return
    steps = walked.distances[1:]
    largest = steps.index(max(steps)) + 1
    typer.echo(
        f"{len(walked.images)} frames in {output}; from one to the next the pixels differ by "
        f"{sum(steps) / len(steps):.1f} on average, and by {max(steps):.1f} at most, at frame {largest}\n{command}"
    )


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(walk)


@dataclass(frozen=True, slots=True)
class Walked:
    """The frames of a walk, uint8 [n, H, W, C], with their formulas and their distances from the frames before."""

    images: NDArray[np.uint8]
    latents: list[Latent]
    distances: list[float]


@dataclass(frozen=True, slots=True)
class Memories:
    """The training image nearest to each frame, uint8 [n, H, W, C], its number, and their distances from it."""

    images: NDArray[np.uint8]
    indices: list[int]
    distances: list[float]


def _walked(client: Client, model: str, through: Sequence[Latent], *, frames: int, **options: Any) -> Walked:
    """Take a walk; on a terminal, a bar shows how far it is."""
    import numpy as np

    parts = []
    with bars() as progress:
        task = progress.add_task("drawing", total=None)
        for part in client.walk(model, through, frames_per_leg=frames, **options):
            parts.append(part)
            progress.update(task, total=part.total, advance=len(part.images))
    latents = [latent for part in parts for latent in part.latents]
    return Walked(
        np.concatenate([part.images for part in parts]),
        latents,
        [float(distance) for part in parts for distance in part.distances],
    )


def _check_length(walked: Walked, output: Path) -> None:
    if output.suffix.lower() == ".png" and len(walked.images) > MAX_STRIP:
        fail(f"{output}: a strip holds at most {MAX_STRIP:,} frames, not {len(walked.images):,}; name a .webp or .apng")


def _memories(walked: Walked, source: str) -> Memories:
    """Find the training images nearest to the frames."""
    import numpy as np

    from training.scores.nearest import nearest_images

    height, width, channels = walked.images.shape[1:]
    with bars() as progress:
        data = load_split(source, "train", data_options(size=f"{height}x{width}", channels=channels), progress=progress)
    found = nearest_images(walked.images, data.images)
    distances = np.sqrt(found.distances / walked.images[0].size)
    return Memories(data.images[found.indices], found.indices.tolist(), distances.tolist())


def _sheet(title: str, subtitle: str, walked: Walked, memories: Memories | None, *, frames: int, command: str) -> Sheet:
    """Put the frames on a sheet, row by row, with their distances below."""
    from mintage.latents import text_of

    from service.images.sheets import Curve, Panel, Sheet, Tile

    bands: list[list[Panel | Curve]] = []
    columns = -(-len(walked.images) // -(-len(walked.images) // COLUMNS))  # rows of about equal length
    for start in range(0, len(walked.images), columns):
        row = range(start, min(start + columns, len(walked.images)))
        captions = [
            f"{frame % frames}/{frames}" if frame % frames else text_of(walked.latents[frame]).removeprefix("0")
            for frame in row
        ]
        tiles = [Tile(walked.images[frame], caption) for frame, caption in zip(row, captions, strict=True)]
        bands.append([Panel("", tiles, columns)])
        if memories is not None:
            near = [Tile(memories.images[frame], f"{memories.distances[frame]:.1f}") for frame in row]
            bands.append([Panel("nearest training images, and how far they are" if not start else "", near, columns)])
    heading = "difference from the frame before, in levels of a pixel (root mean square)"
    bands.append([Curve(heading, walked.distances[1:])])
    return Sheet(title, subtitle, bands, command)


def _described(output: Path, walked: Walked, memories: Memories | None, command: str) -> dict[str, Any]:
    from mintage.latents import text_of

    near = {"indices": memories.indices, "distances": memories.distances} if memories else None
    return {
        "file": str(output),
        "frames": list(map(text_of, walked.latents)),
        "distances": walked.distances,
        "nearest": near,
        "command": command,
    }
