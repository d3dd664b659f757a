"""Images from all over a job on one sheet, with what they are: to look at, and in the text of the PNG file.

The same job gives the same bytes, with the same versions of Pillow and libdeflate.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.images import png
from service.images.sheets import COMMAND_KEY, Panel, Sheet, Tile, draw_sheet
from service.jobs import formulas
from service.jobs.plan import Plan
from service.jobs.shards.formats.card import command_words
from service.jobs.shards.formats.choice import open_images
from service.jobs.shards.marker import Marker
from service.jobs.storage.output import HIDDEN, Output

CONTACT_SHEET = f"{HIDDEN}/contact-sheet.png"
SHEET_ROWS, SHEET_COLUMNS = 8, 8  # a square, as the samples of a training are shown
SHEET_TILE = 128  # longest side of a tile in pixels; the whole sheet fits a screen


def contact_sheet(output: Output, plan: Plan, markers: list[Marker]) -> bytes:
    """Return a PNG of rows of neighbouring images, spread evenly over those that there are; large ones reduced.

    Neighbours show what a step of the index changes, such as the class; rows far apart, whether the end is as the
    beginning.
    """
    assert plan.sampling is not None  # noqa: S101 - only sample jobs make images
    shown, drawn = _chosen(markers), plan.sampling
    images = zip(shown, _images(output, plan, shown), strict=True)
    tiles = [Tile(_tile(image), f"#{index}") for index, image in images]
    made_of = "formulas of latents" if drawn.latents else f"seed {drawn.seed}"
    total = sum(marker.count for marker in markers)
    command = shlex.join(command_words(plan, drawn))
    sheet = Sheet(
        f"{total:,} image{'' if total == 1 else 's'} of {plan.model}",
        f"{made_of}, first index {shown[0]}; {plan.height} x {plan.width} pixels"
        + (f"; rows of {SHEET_COLUMNS}, spread over the job" if total > len(shown) else ""),
        [[Panel("", tiles, SHEET_COLUMNS)]],
        command,
        [f"archive {plan.model_digest}"],
    )
    text = {
        "Title": sheet.title,
        "Model": plan.model,
        "Model digest": plan.model_digest,
        **({"Seed": str(drawn.seed)} if not drawn.latents else {"Latent": formulas.formula(drawn, shown[0])}),
        "First index": str(shown[0]),
        "Indices": _runs(shown),
        COMMAND_KEY: command,
    }
    [file] = png.encode(np.asarray(draw_sheet(sheet))[None])
    return png.with_text(file, text)


def _chosen(markers: list[Marker]) -> list[int]:
    """Return the indices of the images to show, row after row."""
    ends = np.cumsum([marker.count for marker in markers])  # places of the images that there are, shard after shard
    total = int(ends[-1])
    rows = min(SHEET_ROWS, -(-total // SHEET_COLUMNS))
    whole, last = total <= SHEET_ROWS * SHEET_COLUMNS, total - SHEET_COLUMNS  # last: where the last row begins

    def index(place: int) -> int:
        shard = int(np.searchsorted(ends, place, side="right"))
        marker = markers[shard]
        return marker.first_index + marker.count - (int(ends[shard]) - place)

    begins = [row * SHEET_COLUMNS if whole else row * last // (rows - 1) for row in range(rows)]
    return [index(place) for begin in begins for place in range(begin, min(begin + SHEET_COLUMNS, total))]


def _runs(indices: list[int]) -> str:
    """Write rising indices as runs: `0-7, 284-291`."""
    groups = itertools.groupby(enumerate(indices), lambda pair: pair[1] - pair[0])
    runs = [[index for _, index in group] for _, group in groups]
    return ", ".join(f"{run[0]}-{run[-1]}" for run in runs)


def _images(output: Output, plan: Plan, indices: list[int]) -> Iterator[NDArray[np.uint8]]:
    """Yield the images of rising indices."""
    for shard, group in itertools.groupby(indices, lambda index: index // plan.shard_size):
        with open_images(output, plan, shard) as images:
            for index in group:
                yield from images.read(range(index, index + 1))


def _tile(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width, channels = image.shape
    if max(height, width) <= SHEET_TILE:
        return image
    scale = SHEET_TILE / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small = Image.fromarray(image[:, :, 0] if channels == 1 else image).resize(size, Image.Resampling.BOX)
    return np.asarray(small).reshape(size[1], size[0], channels)
