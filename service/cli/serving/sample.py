"""`mintage sample`: images of a loaded generator, now.

mintage sample digits -n 64 --seed 7 -o grid.png   # one picture
mintage sample digits -n 64 --seed 7 -o images/    # a folder of PNG files
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import DEFAULT_API, ApiOption, JsonOption, connect, fail, friendly_errors, print_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def sample(
    model: Annotated[str, typer.Argument(help="Name of a loaded generator.")],
    *,
    count: Annotated[int, typer.Option("-n", "--count", help="Number of images, from 1 to 1024.")] = 64,
    seed: Annotated[int, typer.Option(help="Seed, from 0 to 2^64 - 1.")] = 0,
    first_index: Annotated[int, typer.Option(help="Index of the first sample.")] = 0,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="A .png file for a grid, or a folder (ending in / if new).")
    ] = Path("samples.png"),
    scale: Annotated[int, typer.Option(min=1, max=32, help="Pixels of the grid per image pixel, each way.")] = 2,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Generate images; the same model, seed and index always give the same image."""
    folder = output.is_dir() or not output.suffix
    if not folder and output.suffix.lower() != ".png":
        fail(f"{output}: must end in .png, or be a folder")
    with friendly_errors():
        with connect(api) as client:
            images = client.generate(model, count, seed=seed, first_index=first_index)
        written = _write_files(images, output, first_index) if folder else _write_grid(images, output, scale)
    if as_json:
        print_json({"images": len(images), "seed": seed, "first_index": first_index, "files": list(map(str, written))})
    else:
        typer.echo(f"{len(images)} images in {output}")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(sample)


def _write_grid(images: NDArray[np.uint8], path: Path, scale: int) -> list[Path]:
    from training.runs.grids import grid

    path.parent.mkdir(parents=True, exist_ok=True)
    grid(images, math.ceil(math.sqrt(len(images))), scale=scale).save(path)
    return [path]


def _write_files(images: NDArray[np.uint8], folder: Path, first_index: int) -> list[Path]:
    from mintage.client import to_pil

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{first_index + number:09d}.png" for number in range(len(images))]
    for path, image in zip(paths, to_pil(images), strict=True):
        image.save(path)
    return paths
