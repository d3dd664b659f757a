"""The first images of a job on one sheet."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.images import png
from service.jobs.plan import Plan
from service.jobs.shards.formats.choice import open_images
from service.jobs.shards.marker import Marker
from service.jobs.storage.output import HIDDEN, Output

CONTACT_SHEET = f"{HIDDEN}/contact-sheet.png"
SHEET_IMAGES, SHEET_COLUMNS = 64, 8  # a square, as the samples of a training are shown
SHEET_TILE = 128  # longest side of a tile in pixels; the whole sheet fits a screen


def contact_sheet(output: Output, plan: Plan, markers: list[Marker]) -> bytes:
    """Return the first images as one PNG on white, large ones reduced."""
    tiles = [_tile(image) for image in _first_images(output, plan, markers)]  # each [h, w, C]
    height, width, channels = tiles[0].shape
    columns = min(SHEET_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + 2) + 2, columns * (width + 2) + 2, channels), 255, np.uint8)  # [H, W, C]
    for number, tile in enumerate(tiles):
        top, left = 2 + number // columns * (height + 2), 2 + number % columns * (width + 2)
        sheet[top : top + height, left : left + width] = tile
    return next(png.encode(sheet[None]))


def _first_images(output: Output, plan: Plan, markers: list[Marker]) -> Iterator[NDArray[np.uint8]]:
    left = SHEET_IMAGES
    for marker in markers:
        indices = range(marker.first_index, marker.first_index + min(marker.count, left))
        with open_images(output, plan, marker.shard) as images:
            yield from images.read(indices)
        left -= len(indices)
        if left == 0:
            return


def _tile(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width, channels = image.shape
    if max(height, width) <= SHEET_TILE:
        return image
    scale = SHEET_TILE / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small = Image.fromarray(image[:, :, 0] if channels == 1 else image).resize(size, Image.Resampling.BOX)
    return np.asarray(small).reshape(size[1], size[0], channels)
