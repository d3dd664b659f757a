"""The images that the verbs of explaining take, brought to a model's form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.cli.console import fail
from service.images.decode import FORMATS_SHOWN, looks_like_image

if TYPE_CHECKING:
    from mintage.v1.generation_pb2 import ImageShape

FRAME = (230, 60, 40)  # colour of a box
QUANTILE = 0.995  # of a gradient's numbers that is shown black or white: a few outliers would leave the rest grey


def files_of(paths: Sequence[Path], most: int) -> list[Path]:
    """Return files, and in place of each folder the images in it, as training finds them, in order of their names.

    Exits with 2 if there are none, or more than `most`.
    """
    files = [file for path in paths for file in (_images_in(path) if path.is_dir() else [path])]
    if not files:
        fail(f"{', '.join(map(str, paths))}: no image files; expected {FORMATS_SHOWN}")
    if len(files) > most:
        fail(f"at most {most:,} images are taken, not {len(files):,}")
    return files


def loaded(paths: Sequence[Path], shape: ImageShape) -> NDArray[np.uint8]:
    """Load image files: uint8 [N, H, W, C] of a model's shape, the largest centred part resized as in training.

    Exits with 1 if the shape is not known yet, since the model is being loaded for the first time.
    """
    from mintage.pictures import fitted

    if not shape.height:
        fail("the model is still being loaded: `mintage models watch` shows how far it is", 1, reason="MODEL_NOT_READY")
    return np.stack([_pixels(fitted(path, shape.height, shape.width), shape.channels) for path in paths])


def resized(images: NDArray[np.uint8], shape: ImageShape) -> NDArray[np.uint8]:
    """Bring images uint8 [N, H, W, C] to a model's shape, stretched if their aspect is another."""
    from mintage.pictures import to_pil

    size = shape.width, shape.height
    return np.stack([_pixels(each.resize(size, Image.Resampling.LANCZOS), shape.channels) for each in to_pil(images)])


def shown(gradient: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Show a gradient [H, W, C]: grey where it is 0, lighter where more of a pixel excites the unit."""
    largest = float(np.quantile(np.abs(gradient), QUANTILE)) or float(np.abs(gradient).max()) or 1.0
    levels: NDArray[np.uint8] = np.rint(127.5 + 127.5 * np.clip(gradient / largest, -1, 1)).astype(np.uint8)
    return levels


def framed(image: NDArray[np.uint8], boxes: Sequence[tuple[int, int, int, int]], scale: int) -> NDArray[np.uint8]:
    """Enlarge an image uint8 [H, W, C] and draw boxes of (left, top, width, height) into it: uint8 [H', W', 3]."""
    large = np.repeat(np.repeat(image, scale, axis=0), scale, axis=1)
    drawn = np.array(np.broadcast_to(large, (*large.shape[:2], 3)))
    for left, top, width, height in boxes:
        rows = slice(top * scale, (top + height) * scale)
        columns = slice(left * scale, (left + width) * scale)
        for edge in ((rows.start, columns), (rows.stop - 1, columns), (rows, columns.start), (rows, columns.stop - 1)):
            drawn[edge] = FRAME
    return drawn


def _images_in(folder: Path) -> list[Path]:
    files = (each for each in folder.iterdir() if each.is_file() and not each.name.startswith("."))
    return sorted(each for each in files if _is_image(each))


def _is_image(path: Path) -> bool:
    return looks_like_image(path.name, lambda: path.open("rb"))


def _pixels(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    """Lay an image on white, as the server does, and convert it to uint8 [H, W, C]."""
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    converted = np.asarray(image.convert("L" if channels == 1 else "RGB"))
    return converted.reshape(*converted.shape[:2], channels)
