"""Drawing formulas for the command line: `mintage sample --latent` and the verbs of `mintage explore`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mintage.latents import text_of

from service.cli.console import connect, fail

if TYPE_CHECKING:
    import numpy as np
    from mintage.client import Client
    from mintage.v1.latents_pb2 import Latent
    from numpy.typing import NDArray

CALL_LATENTS = 256  # of one call to the API, far below what it takes
MAX_GRID = 1024  # images of one picture
PICTURES = (".png", ".webp", ".apng")


def read_formulas(texts: Sequence[str], *, seed: int) -> list[Latent]:
    """Read formulas; exits with 2 and points at the place where one is wrong."""
    from mintage.formulas import FormulaError, parse

    found: list[Latent] = []
    for text in texts:
        try:
            found += parse(text, seed=seed)
        except FormulaError as error:
            fail(f"{text!r}, {error}")
    return found


def drawn(
    client: Client,
    model: str,
    latents: Sequence[Latent],
    class_index: int | None,
    *,
    drop: Mapping[int, Sequence[int]] | None = None,
) -> NDArray[np.uint8]:
    """Draw any number of latents, without some feature maps by layer: uint8 [n, H, W, C]."""
    import numpy as np

    starts = range(0, len(latents), CALL_LATENTS)
    return np.concatenate(
        [client.draw(model, latents[at : at + CALL_LATENTS], class_index=class_index, drop=drop) for at in starts]
    )


def check_picture(output: Path, endings: Sequence[str] = PICTURES) -> str:
    """Return the ending of a picture's name; exits with 2 if it is another."""
    suffix = output.suffix.lower()
    if suffix not in endings:
        fail(f"{output}: must end in {', '.join(endings[:-1])}{' or ' if len(endings) > 1 else ''}{endings[-1]}")
    return suffix


def draw_formulas(
    api: str,
    model: str,
    formulas: Sequence[str],
    *,
    seed: int,
    class_index: int | None,
    output: Path,
    scale: int,
    fps: float,
    command: str,
) -> dict[str, Any]:
    """Draw formulas into a grid, an animation, or a folder of PNG files; returns what was written, for machines."""
    folder = output.is_dir() or not output.suffix
    suffix = "" if folder else check_picture(output)
    latents = read_formulas(formulas, seed=seed)
    if suffix == ".png" and len(latents) > MAX_GRID:
        fail(f"{output}: a grid holds at most {MAX_GRID:,} images; name a folder, a .webp or an .apng")
    with connect(api) as client:
        images = drawn(client, model, latents, class_index)
    files = _write_folder(images, output, latents) if folder else [output]
    if suffix == ".png":
        _write_grid(images, output, scale, command)
    elif not folder:
        from service.images.sheets import write_animation

        write_animation(images, output, fps=fps, command=command)
    return {"latents": list(map(text_of, latents)), "files": list(map(str, files)), "command": command}


def _write_grid(images: NDArray[np.uint8], path: Path, scale: int, command: str) -> None:
    from PIL.PngImagePlugin import PngInfo

    from service.images.sheets import COMMAND_KEY
    from training.runs.grids import grid

    text = PngInfo()
    text.add_text(COMMAND_KEY, command)
    path.parent.mkdir(parents=True, exist_ok=True)
    grid(images, math.ceil(math.sqrt(len(images))), scale=scale).save(path, "PNG", pnginfo=text)


def _write_folder(images: NDArray[np.uint8], folder: Path, latents: Sequence[Latent]) -> list[Path]:
    """Write a PNG file per image, the same bytes as in a job's shards, and which formula each is of."""
    from service.images import png

    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:09d}.png" for number in range(len(images))]
    for path, data in zip(paths, png.encode(images), strict=True):
        path.write_bytes(data)
    lines = [
        json.dumps({"file": path.name, "latent": text_of(each)}) for path, each in zip(paths, latents, strict=True)
    ]
    (folder / "latents.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return paths
