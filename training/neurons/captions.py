"""Images side by side with captions, under a title and above a note; Pillow only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from training.runs.grids import grid

INK, FAINT = "#1a1a1a", "#6b6b6b"  # as on every page and sheet
TEXT, TITLE = 11, 14  # px of letters
LINE, TITLE_LINE, MARGIN, SPACE = 16, 20, 16, 4  # px

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True, slots=True)
class Captioned:
    """An image uint8 [H, W, C], what stands above it, and what stands below."""

    image: NDArray[np.uint8]
    above: str
    below: str


def captioned(panels: Sequence[Captioned], *, title: str, note: str, width: int) -> Image.Image:
    """Draw images on white.

    Args:
        panels: at least one; all images are of one shape.
        title: of the picture.
        note: on what they are.
        width: least width of an image, px.
    """
    scale = max(1, -(-width // panels[0].image.shape[1]))
    high, wide = (side * scale for side in panels[0].image.shape[:2])
    whole = len(panels) * (wide + MARGIN) + MARGIN
    text, heading = ImageFont.load_default(TEXT), ImageFont.load_default(TITLE)
    titles, notes = broken(title, heading, whole - 2 * MARGIN), broken(note, text, whole - 2 * MARGIN)
    top = MARGIN + len(titles) * TITLE_LINE + LINE + 4
    bottom = top + high + 2 * LINE
    picture = Image.new("RGB", (whole, bottom + len(notes) * LINE + MARGIN), "white")
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(titles):
        _write(pen, (MARGIN, MARGIN + number * TITLE_LINE), line, INK, heading)
    for number, panel in enumerate(panels):
        left = MARGIN + number * (wide + MARGIN)
        _write(pen, (left, top - LINE), panel.above, INK, text)
        picture.paste(grid(panel.image[None], 1, scale=scale, gap=0).convert("RGB"), (left, top))
        _write(pen, (left, top + high + 3), panel.below, FAINT, text)
    for number, line in enumerate(notes):
        _write(pen, (MARGIN, bottom + number * LINE), line, FAINT, text)
    return picture


def broken(text: str, font: Font, width: int) -> list[str]:
    """Break a text between words into lines of at most `width` px, where a word is not longer."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and _width(longer, font) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], line: str, colour: str, font: Font) -> None:
    """Write a line word by word: the font's own space is too narrow to be seen at this size."""
    left = float(at[0])
    for word in line.split():
        pen.text((left, at[1]), word, colour, font)
        left += font.getlength(word) + SPACE


def _width(line: str, font: Font) -> float:
    words = line.split()
    return sum(font.getlength(word) for word in words) + SPACE * (len(words) - 1)
