"""Draw docs/pictures/strip.png, the first picture of the README, from a running service: python docs/strip.py [API]."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from mintage.client import Client
from numpy.typing import NDArray
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "strip.png"
HISTOGRAM = ROOT / "models" / "face-neuron" / "neurons" / "face" / "histogram.png"
SEED = 2016  # the first images of this seed, none picked by hand
GAP, MARGIN = 4, 14  # px between the images of a panel, and between panels
HEIGHT = 416  # px, close to the histogram's own 420, whose text must stay sharp


def main() -> int:
    """Generate digits and cats, put them beside the histogram that `mintage neurons find` drew, and save the strip."""
    with Client(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051") as client:
        digits = client.generate("digits-generator", 7 * 6, seed=SEED)  # uint8 [42, 28, 28, 1]
        cats = client.generate("cats-generator", 6 * 6, seed=SEED)  # uint8 [36, 64, 64, 3]
    with Image.open(HISTOGRAM) as drawn:
        histogram = drawn.convert("RGB").resize(
            (drawn.width * HEIGHT // drawn.height, HEIGHT), Image.Resampling.LANCZOS
        )
    panels = [panel(digits, rows=7), panel(cats, rows=6), histogram]
    strip = Image.new("RGB", (sum(each.width + MARGIN for each in panels) - MARGIN, HEIGHT), "white")
    left = 0
    for each in panels:
        strip.paste(each, (left, 0))
        left += each.width + MARGIN
    strip.save(PICTURE, optimize=True)
    return 0


def panel(images: NDArray[np.uint8], *, rows: int) -> Image.Image:
    """Lay images [N, H, W, 1 or 3] out in so many rows, HEIGHT px in all, on white."""
    side = (HEIGHT - (rows - 1) * GAP) // rows
    columns = len(images) // rows
    sheet = Image.new("RGB", (columns * (side + GAP) - GAP, rows * (side + GAP) - GAP), "white")
    for number, pixels in enumerate(images):
        row, column = divmod(number, columns)
        tile = Image.fromarray(pixels.squeeze()).convert("RGB").resize((side, side), Image.Resampling.LANCZOS)
        sheet.paste(tile, (column * (side + GAP), row * (side + GAP)))
    return sheet


if __name__ == "__main__":
    raise SystemExit(main())
