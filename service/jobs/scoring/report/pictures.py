"""The images that a report shows, taken from the source and drawn into the page."""

from __future__ import annotations

import base64
import io
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.jobs.plan import Plan
from service.jobs.sources.choice import image_names, open_source
from service.jobs.storage.store import Store

MAX_PIXELS = 192  # most that a picture is kept with


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of the source as a PNG, its width and height in pixels, and where it came from; '' for a job's."""

    png: bytes
    width: int
    height: int
    source: str

    def html(self, index: int, *told: str) -> str:
        """Return it as HTML with a caption: its file or number, and what else is told of it."""
        data = base64.b64encode(self.png).decode()
        name = self.source or f"#{index}"
        caption = escape(", ".join([name, *(each for each in told if each)]), quote=True)
        title = escape(f"image {index} of the job" + (f", {self.source}" if self.source else ""), quote=True)
        return (
            f'<figure><img src="data:image/png;base64,{data}" alt="{caption}" title="{title}" '
            f'width="{self.width}" height="{self.height}"><figcaption>{caption}</figcaption></figure>'
        )


def pictures(store: Store, inputs: Path, plan: Plan, indices: Iterable[int]) -> dict[int, Picture]:
    """Return some images of a score job's source, large ones made smaller.

    Raises:
        OutputError, OSError: if the source is gone or was changed.
    """
    wanted = sorted(set(indices))
    names = _names(store, plan, wanted)
    found = {}
    for shard, group in itertools.groupby(wanted, lambda index: index // plan.shard_size):
        with open_source(store, inputs, plan, shard) as source:
            for index in group:
                [pixels] = source.read(range(index, index + 1)).pixels
                found[index] = _drawn(pixels, names.get(index, ""))
    return found


def _drawn(pixels: NDArray[np.uint8], source: str) -> Picture:
    """Encode an image uint8 [H, W, C] as PNG, at most MAX_PIXELS wide and high."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((MAX_PIXELS, MAX_PIXELS), Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, "PNG")
    return Picture(file.getvalue(), image.width, image.height, source)


def _names(store: Store, plan: Plan, wanted: list[int]) -> dict[int, str]:
    names = image_names(store, plan)
    if names is None or not wanted:
        return {}
    known, numbers = enumerate(itertools.islice(names, wanted[-1] + 1)), set(wanted)
    return {index: name for index, name in known if index in numbers}
