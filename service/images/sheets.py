"""Sheets: images with captions on a page, as a PNG that says how it was made, and animations. Pillow only.

A sheet is bands from top to bottom; a band is panels side by side; a panel is a grid of tiles under a heading.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from service.look import (
    ACCENT,
    BAND_GAP,
    CAPTION,
    FAINT,
    FOOTER,
    GAP,
    HEADING,
    INK,
    LINE,
    MARGIN,
    PANEL_GAP,
    PAPER,
    TITLE,
)

COMMAND_KEY = "Command"  # of the text in a PNG file that makes it again
DESCRIPTION_TAG = 0x010E  # ImageDescription of EXIF, where a WebP file has it
ANIMATIONS = {".webp": "WEBP", ".apng": "PNG"}

TILE = 96  # px at least of a tile's longer side
SPACE = 0.3  # of a letter's size, between words
DASH = 0.15  # the same, between two hyphens, which touch in the font
MIN_WIDTH = 480  # px of a sheet: room for the command
CURVE_HEIGHT = 72


@dataclass(frozen=True, slots=True)
class Tile:
    """An image uint8 [H, W, C] and what stands under it; None leaves its place empty."""

    image: NDArray[np.uint8] | None
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Panel:
    """Tiles row by row under a heading; `scale` enlarges them more than the sheet's other ones."""

    heading: str
    tiles: Sequence[Tile]
    columns: int
    scale: int = 1


@dataclass(frozen=True, slots=True)
class Curve:
    """A line through numbers, one for each column of the panel above it."""

    heading: str
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Sheet:
    """A page: its title, what stands below that, bands, and the command that makes it again."""

    title: str
    subtitle: str
    bands: Sequence[Sequence[Panel | Curve]]
    command: str
    notes: Sequence[str] = field(default_factory=tuple)


def write_sheet(sheet: Sheet, path: Path) -> None:
    """Draw a sheet into a PNG file."""
    text = PngInfo()
    text.add_text(COMMAND_KEY, sheet.command)
    path.parent.mkdir(parents=True, exist_ok=True)
    draw_sheet(sheet).save(path, "PNG", pnginfo=text, optimize=True)


def write_animation(images: NDArray[np.uint8], path: Path, *, fps: float, command: str) -> None:
    """Write frames uint8 [N, H, W, C] as an endless animation, without loss, enlarged to be seen.

    Args:
        images: the frames.
        path: ends in .webp or .apng.
        fps: frames per second.
        command: that makes it again.
    """
    scale = enlargement(images[0], 2 * TILE)
    frames = [_pillow(image, scale) for image in images]
    milliseconds = max(1, round(1000 / fps))
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = ANIMATIONS[path.suffix.lower()]
    if kind == "WEBP":
        exif = Image.Exif()
        exif[DESCRIPTION_TAG] = command
        frames[0].save(
            path, kind, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, lossless=True, exif=exif
        )
        return
    text = PngInfo()
    text.add_text(COMMAND_KEY, command)
    frames[0].save(path, kind, save_all=True, append_images=frames[1:], duration=milliseconds, loop=0, pnginfo=text)


def draw_sheet(sheet: Sheet) -> Image.Image:
    """Draw a sheet."""
    scale = _scale_of(sheet)
    sizes = [_band_size(band, scale) for band in sheet.bands]
    width = max(MIN_WIDTH, *(size[0] for size in sizes)) + 2 * MARGIN
    footer = _lines(f"$ {sheet.command}", FOOTER, width - 2 * MARGIN)
    notes = [line for note in sheet.notes for line in _lines(note, CAPTION, width - 2 * MARGIN)]
    subtitle = _lines(sheet.subtitle, HEADING, width - 2 * MARGIN)
    top = MARGIN + TITLE + 8 + len(subtitle) * (HEADING + 5) + BAND_GAP // 2
    below = len(notes) * (CAPTION + 5) + (10 if notes else 0) + len(footer) * (FOOTER + 5)
    height = top + sum(size[1] + BAND_GAP for size in sizes) + below + MARGIN
    page = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(page)
    _write(pen, (MARGIN, MARGIN), sheet.title, TITLE, INK)
    _write_lines(pen, (MARGIN, MARGIN + TITLE + 8), subtitle, HEADING, FAINT)
    for band, (_, size) in zip(sheet.bands, sizes, strict=True):
        left = MARGIN
        for part in band:
            if isinstance(part, Curve):
                _draw_curve(pen, part, (left, top, width - MARGIN))
            else:
                _draw_panel(page, pen, part, (left, top), scale)
                left += _panel_size(part, scale)[0] + PANEL_GAP
        top += size + BAND_GAP
    _write_lines(pen, (MARGIN, top), notes, CAPTION, INK)
    top += len(notes) * (CAPTION + 5) + (10 if notes else 0)
    _write_lines(pen, (MARGIN, top), footer, FOOTER, FAINT)
    return page


def enlargement(image: NDArray[np.uint8], side: int) -> int:
    """Return the whole number of times that an image is enlarged so that its longer side is about so many px."""
    height, width, _ = image.shape
    return max(1, int(side / max(height, width) + 0.5))


def _scale_of(sheet: Sheet) -> int:
    panels = [part for band in sheet.bands for part in band if isinstance(part, Panel)]
    images = [tile.image for panel in panels for tile in panel.tiles if tile.image is not None]
    columns = max(panel.columns for panel in panels)
    return enlargement(images[0], TILE if columns <= 12 else TILE * 2 // 3)


def _tile_size(panel: Panel, scale: int) -> tuple[int, int]:
    image = next(tile.image for tile in panel.tiles if tile.image is not None)
    return image.shape[1] * scale * panel.scale, image.shape[0] * scale * panel.scale


def _caption_height(panel: Panel, scale: int) -> int:
    width = _tile_size(panel, scale)[0]
    most = max(len(_caption_lines(tile.caption, width)) for tile in panel.tiles)
    return most * (CAPTION + 3) + (3 if most else 0)


def _panel_size(panel: Panel, scale: int) -> tuple[int, int]:
    width, height = _tile_size(panel, scale)
    columns, rows = min(panel.columns, len(panel.tiles)), -(-len(panel.tiles) // panel.columns)
    grid_width = columns * (width + GAP) - GAP
    heading = len(_lines(panel.heading, HEADING, max(grid_width, TILE))) * (HEADING + 5)
    return grid_width, heading + (4 if heading else 0) + rows * (height + _caption_height(panel, scale) + GAP) - GAP


def _band_size(band: Sequence[Panel | Curve], scale: int) -> tuple[int, int]:
    sizes = [(0, CURVE_HEIGHT + HEADING + 8) if isinstance(p, Curve) else _panel_size(p, scale) for p in band]
    return sum(size[0] for size in sizes) + PANEL_GAP * (len(sizes) - 1), max(size[1] for size in sizes)


def _draw_panel(page: Image.Image, pen: ImageDraw.ImageDraw, panel: Panel, at: tuple[int, int], scale: int) -> None:
    left, top = at
    width, height = _tile_size(panel, scale)
    heading = _lines(panel.heading, HEADING, max(_panel_size(panel, scale)[0], TILE))
    _write_lines(pen, at, heading, HEADING, INK)
    top += len(heading) * (HEADING + 5) + (4 if heading else 0)
    row_height = height + _caption_height(panel, scale) + GAP
    for number, tile in enumerate(panel.tiles):
        x = left + number % panel.columns * (width + GAP)
        y = top + number // panel.columns * row_height
        if tile.image is not None:
            page.paste(_pillow(tile.image, scale * panel.scale).convert("RGB"), (x, y))
        lines = _caption_lines(tile.caption, width)
        for line_number, line in enumerate(lines):
            shift = (width - _width(line, CAPTION)) // 2
            _write(pen, (x + max(0, shift), y + height + 3 + line_number * (CAPTION + 3)), line, CAPTION, FAINT)


def _draw_curve(pen: ImageDraw.ImageDraw, curve: Curve, box: tuple[int, int, int]) -> None:
    """Draw a curve from 0 to its largest value, with that written beside it."""
    left, top, right = box
    _write(pen, (left, top), curve.heading, HEADING, INK)
    top += HEADING + 8
    bottom, largest = top + CURVE_HEIGHT, max(curve.values, default=0.0) or 1.0
    label = f"{largest:.3g}"
    start = left + _width(label, CAPTION) + 8
    _write(pen, (left, top - 4), label, CAPTION, FAINT)
    _write(pen, (start - 8 - _width("0", CAPTION), bottom - CAPTION), "0", CAPTION, FAINT)
    pen.line((start, bottom, right, bottom), LINE)
    pen.line((start, top, start, bottom), LINE)
    step = (right - start) / max(1, len(curve.values) - 1)
    points = [(start + n * step, bottom - value / largest * CURVE_HEIGHT) for n, value in enumerate(curve.values)]
    if len(points) > 1:
        pen.line(points, ACCENT, 2, joint="curve")


def _caption_lines(caption: str, width: int) -> list[str]:
    """Cut a caption into two lines at most, the second with its end left out if that is too long."""
    lines = _lines(caption, CAPTION, width)
    if len(lines) <= 2:
        return lines
    last = lines[1]
    while last and _width(f"{last}...", CAPTION) > width:
        last = last[:-1]
    return [lines[0], f"{last}..."]


def _lines(text: str, size: int, width: int) -> list[str]:
    """Cut a text into lines, between words where possible."""
    lines: list[str] = []
    for word in text.split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and _width(joined, size) <= width:
            lines[-1] = joined
            continue
        lines.append(word)
        while _width(lines[-1], size) > width and len(lines[-1]) > 1:
            cut = len(lines[-1]) - 1
            while cut > 1 and _width(lines[-1][:cut], size) > width:
                cut -= 1
            lines[-1:] = [lines[-1][:cut], lines[-1][cut:]]
    return lines


def _write_lines(pen: ImageDraw.ImageDraw, at: tuple[int, int], lines: Sequence[str], size: int, colour: str) -> None:
    for number, line in enumerate(lines):
        _write(pen, (at[0], at[1] + number * (size + 5)), line, size, colour)


def _write(pen: ImageDraw.ImageDraw, at: tuple[int, int], line: str, size: int, colour: str) -> None:
    """Write a line word by word: the font's kerning would close the space beside a digit or a quote."""
    left = float(at[0])
    for word in line.split(" "):
        for part in _parts(word):
            pen.text((left, at[1]), part, colour, _font(size))
            left += _font(size).getlength(part) + DASH * size
        left += (SPACE - DASH) * size


def _width(text: str, size: int) -> int:
    words = [_parts(word) for word in text.split(" ")]
    letters = sum(_font(size).getlength(part) for parts in words for part in parts)
    return math.ceil(letters + size * (SPACE * (len(words) - 1) + DASH * sum(len(parts) - 1 for parts in words)))


def _parts(word: str) -> list[str]:
    """Cut a word between hyphens that stand side by side: `--help` would look like a long dash."""
    return re.split("(?<=-)(?=-)", word)


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow, so that a sheet looks the same everywhere."""
    found = ImageFont.load_default(size)
    if not isinstance(found, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType, which writes the captions of sheets")
    return found


def _pillow(image: NDArray[np.uint8], scale: int) -> Image.Image:
    enlarged = image.repeat(scale, axis=0).repeat(scale, axis=1)
    return Image.fromarray(enlarged[..., 0] if image.shape[2] == 1 else enlarged)
