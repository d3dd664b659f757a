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

SHOWN_PIXELS, MAX_PIXELS = 96, 192  # width of a picture on the page; most that it is kept with


@dataclass(frozen=True, slots=True)
class Picture:
    """An image of the source as a PNG, and where it came from; '' for a job's."""

    png: bytes
    source: str

    def html(self, index: int, value: str) -> str:
        """Return it as HTML with its number and caption."""
        data = base64.b64encode(self.png).decode()
        title = escape(self.source or f"image {index}", quote=True)
        return (
            f'<figure><img src="data:image/png;base64,{data}" alt="{title}" title="{title}" '
            f'width="{SHOWN_PIXELS}"><figcaption>{index}<br>{escape(value)}</figcaption></figure>'
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
                found[index] = Picture(_drawn(pixels), names.get(index, ""))
    return found


def _drawn(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an image uint8 [H, W, C] as PNG, at most MAX_PIXELS wide and high."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    image.thumbnail((MAX_PIXELS, MAX_PIXELS), Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _names(store: Store, plan: Plan, wanted: list[int]) -> dict[int, str]:
    names = image_names(store, plan)
    if names is None or not wanted:
        return {}
    known, numbers = enumerate(itertools.islice(names, wanted[-1] + 1)), set(wanted)
    return {index: name for index, name in known if index in numbers}
