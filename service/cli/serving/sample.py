"""`mintage sample`: images of a loaded generator, now.

mintage sample digits -n 64 --seed 7 -o grid.png      # one picture
mintage sample digits -n 50000 --seed 7 -o images/    # a folder of PNG files, written as they are made
mintage sample digits --latent 'slerp(7#1, 7#2, 0:1:64)' -o walk.webp     # a formula, whose range makes frames
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.console import DEFAULT_API, ApiOption, JsonOption, connect, errors_console, fail, friendly_errors
from service.cli.explore.again import again
from service.cli.explore.drawing import draw_formulas
from service.cli.explore.options import FpsOption
from service.cli.formula_options import ClassOption, LatentOption
from service.cli.json_lines import print_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Sized
    from typing import TypeVar

    import numpy as np
    from numpy.typing import NDArray

    Part = TypeVar("Part", bound=Sized)

MAX_GRID = 1024  # images of one picture


def sample(
    context: typer.Context,
    model: Annotated[str, typer.Argument(help="Name of a loaded generator.")],
    *,
    count: Annotated[
        int | None,
        typer.Option("-n", "--count", help="Number of images, from 1 to 100,000.", show_default="64"),
    ] = None,
    latent: LatentOption = None,
    class_index: ClassOption = None,
    seed: Annotated[int, typer.Option(help="Seed, from 0 to 2^64 - 1.")] = 0,
    first_index: Annotated[int, typer.Option(help="Index of the first sample.")] = 0,
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            help="A .png file for a grid of up to 1,024, a folder (ending in / if new), or for formulas a .webp or "
            ".apng that moves.",
        ),
    ] = Path("samples.png"),
    scale: Annotated[int, typer.Option(min=1, max=32, help="Pixels of the grid per image pixel, each way.")] = 2,
    fps: FpsOption = 16,
    api: ApiOption = DEFAULT_API,
    as_json: JsonOption = False,
) -> None:
    """Generate images; the same model, seed and index, or the same formula, always give the same image.

    Example: mintage sample digits-generator -n 64 --seed 7 -o grid.png
    mintage sample digits-generator --latent 'slerp(7#1, 7#2, 0:1:64)' -o walk.webp
    """
    if latent:
        if count is not None or first_index:
            fail("--latent says itself what is drawn; --count and --first-index belong to samples")
        with friendly_errors():
            drawing = draw_formulas(
                api, model, latent, seed=seed, class_index=class_index, output=output, scale=scale, fps=fps,
                command=again(context),
            )  # fmt: skip
        if as_json:
            print_json(drawing)
        else:
            count = len(drawing["latents"])
            typer.echo(f"{count} image{'' if count == 1 else 's'} in {output}")
        return
    if class_index is not None:
        fail("--class belongs to --latent: sample i of a conditional generator shows class i mod K")
    count = 64 if count is None else count
    folder = output.is_dir() or not output.suffix
    if not folder and output.suffix.lower() != ".png":
        fail(f"{output}: must end in .png, or be a folder")
    if not folder and count > MAX_GRID:
        fail(f"{output}: a grid holds at most {MAX_GRID:,} images; name a folder for more")
    with friendly_errors(), connect(api) as client:
        if folder:
            files = client.stream_generate_png(model, count, seed=seed, first_index=first_index)
            written = _write_files(_watched(files, count), output, first_index)
        else:
            parts = client.stream_generate(model, count, seed=seed, first_index=first_index)
            written = _write_grid(list(_watched(parts, count)), output, scale)
    if as_json:
        print_json({"images": count, "seed": seed, "first_index": first_index, "files": list(map(str, written))})
    else:
        typer.echo(f"{count} images in {output}")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command()(sample)


def _watched(parts: Iterable[Part], count: int) -> Iterator[Part]:
    """Pass parts on; on a terminal, a bar shows how many images have come."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    screen = errors_console()
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=screen, disable=not screen.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=count)
        for part in parts:
            yield part
            progress.advance(task, len(part))


def _write_grid(parts: list[NDArray[np.uint8]], path: Path, scale: int) -> list[Path]:
    import numpy as np

    from service.images import png
    from training.runs.grids import grid

    images = np.concatenate(parts)  # [N, H, W, C]
    sheet = np.asarray(grid(images, math.ceil(math.sqrt(len(images))), scale=scale))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(next(png.encode(sheet.reshape(1, *sheet.shape[:2], images.shape[3]))))
    return [path]


def _write_files(parts: Iterable[list[bytes]], folder: Path, first_index: int) -> list[Path]:
    """Write the API's own files, whose bytes are those in a job's shards."""
    paths = list[Path]()
    for part in parts:
        folder.mkdir(parents=True, exist_ok=True)
        for file in part:
            paths.append(folder / f"{first_index + len(paths):09d}.png")
            paths[-1].write_bytes(file)
    return paths
