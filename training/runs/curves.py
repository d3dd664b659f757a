"""Curves of what runs measured, one panel a quantity and one line a run. Pillow only; equal input gives equal bytes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

Points = Sequence[tuple[float, float]]  # (images seen, value), in order
WIDTH, HEIGHT = 480, 240  # of a panel, px
LEFT, TOP, RIGHT, BOTTOM = 64, 24, 12, 28  # of its margins, px
COLUMNS = 2  # of panels
MOST_POINTS = 200  # of a line; more are averaged, neighbour with neighbour
LEGEND_HEIGHT = 18  # px, of a run's line in the legend
COLOURS = ("#1f5fa8", "#b03030", "#2e7d32", "#8e5ea2", "#c77700", "#00838f", "#5d4037", "#607d8b")
ACCURACY = "test accuracy, %"


def curves_of(lines: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Return the finite points of every loss and of the test accuracy in a run's metrics, by name."""
    found: dict[str, list[tuple[float, float]]] = {}
    for line in lines:
        values = dict(line.get("losses") or {})
        if line.get("test_accuracy") is not None:
            values[ACCURACY] = 100 * line["test_accuracy"]
        for name, value in values.items():
            if isinstance(value, int | float) and math.isfinite(value):
                found.setdefault(name, []).append((float(line["images_seen"]), float(value)))
    return found


def draw(runs: Mapping[str, Mapping[str, Points]]) -> Image.Image | None:
    """Draw all curves of some runs, each run in one colour; a single run has no legend.

    A panel that is not of every run says of how many it is, and the legend which runs have no curve at all.

    Args:
        runs: curves by the run's name and by what was measured.

    Returns:
        None where no curve has two points.
    """
    lines = {
        name: {run: _thinned(curves[name]) for run, curves in runs.items() if len(curves.get(name, ())) > 1}
        for name in dict.fromkeys(name for curves in runs.values() for name in curves)
    }
    lines = {name: drawn for name, drawn in lines.items() if drawn}
    if not lines:
        return None
    colours = {run: COLOURS[number % len(COLOURS)] for number, run in enumerate(runs)}
    legend = LEGEND_HEIGHT * len(runs) + 6 if len(runs) > 1 else 0
    columns = min(COLUMNS, len(lines))
    picture = Image.new("RGB", (WIDTH * columns, legend + HEIGHT * -(-len(lines) // columns)), "white")
    pen = ImageDraw.Draw(picture)
    if legend:
        for number, (run, colour) in enumerate(colours.items()):
            middle = 6 + LEGEND_HEIGHT * number + LEGEND_HEIGHT // 2
            has_curve = any(run in drawn for drawn in lines.values())
            if has_curve:
                pen.line((LEFT, middle, LEFT + 24, middle), fill=colour, width=3)
            pen.text((LEFT + 32, middle), run if has_curve else f"{run}: no curve yet", fill="black", anchor="lm")
    for number, (name, drawn) in enumerate(lines.items()):
        corner = WIDTH * (number % columns), legend + HEIGHT * (number // columns)
        some = f" ({len(drawn)} of {len(runs)} runs)" if len(drawn) < len(runs) else ""
        title = f"{name}, over images seen{some}"
        _panel(pen, corner, title, {run: (colours[run], points) for run, points in drawn.items()})
    return picture


def _panel(
    pen: ImageDraw.ImageDraw, corner: tuple[int, int], title: str, lines: Mapping[str, tuple[str, Points]]
) -> None:
    """Draw the lines of one quantity on common axes, labelled with their ranges."""
    xs, ys = zip(*(point for _, points in lines.values() for point in points), strict=True)
    left, top = corner[0] + LEFT, corner[1] + TOP
    right, bottom = corner[0] + WIDTH - RIGHT, corner[1] + HEIGHT - BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - min(xs)) / (max(xs) - min(xs) or 1)
        up = (y - min(ys)) / (max(ys) - min(ys) or 1)
        return left + across * (right - left), bottom - up * (bottom - top)

    pen.rectangle((left, top, right, bottom), outline="#bbbbbb")
    for colour, points in lines.values():
        pen.line([place(x, y) for x, y in points], fill=colour, width=2)
    pen.text((left, corner[1] + 6), title, fill="black")
    for text, place_of, anchor in (
        (f"{max(ys):.4g}", (left - 6, top), "rt"),
        (f"{min(ys):.4g}", (left - 6, bottom), "rb"),
        (f"{min(xs):,.0f}", (left, bottom + 6), "lt"),
        (f"{max(xs):,.0f}", (right, bottom + 6), "rt"),
    ):
        pen.text(place_of, text, fill="black", anchor=anchor)


def _thinned(points: Points) -> list[tuple[float, float]]:
    """Return means of neighbouring points, so many as a panel can show."""
    parts = np.array_split(np.asarray(points, np.float64), min(len(points), MOST_POINTS))
    return [(float(x), float(y)) for x, y in (part.mean(axis=0) for part in parts)]
