"""The plots of a report as SVG text for a page; they take the colour of the page's text, in light and dark mode."""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_LABELS = 30  # class names that fit below a bar chart
INK, BAR, LINE = "#102030", "#4f86c6", "#d1495b"  # INK becomes the colour of the text
_STYLE: Any = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_LOCK = threading.Lock()  # matplotlib's settings are those of the whole process


def class_counts(names: Sequence[str], counts: Sequence[int]) -> str:
    """Draw how many images are of each class."""
    with _axes("classes", "most probable class", "images") as (axes, done):
        axes.bar(range(len(counts)), counts, color=BAR)
        if len(names) <= MAX_LABELS:
            long = max(len(name) for name in names) * len(names) > 60
            axes.set_xticks(range(len(names)), names, rotation=60 if long else 0, ha="right" if long else "center")
    return done[0]


def shares(name: str, counts: NDArray[np.int64]) -> str:
    """Draw a histogram of numbers from 0 to 1."""
    with _axes(name, name, "images") as (axes, done):
        axes.stairs(counts, np.linspace(0, 1, len(counts) + 1), fill=True, color=BAR)
        axes.set_xlim(0, 1)
    return done[0]


def activations(name: str, values: NDArray[np.float32], threshold: float) -> str:
    """Draw a histogram of activations, and the threshold above which the concept is detected."""
    with _axes(name, f"activation of {name}", "images") as (axes, done):
        axes.hist(values, bins=40, color=BAR)
        axes.axvline(threshold, color=LINE, linestyle="--")
        axes.annotate(
            "threshold", (threshold, 1), xycoords=("data", "axes fraction"), color=LINE, ha="center", va="bottom"
        )
    return done[0]


@contextmanager
def _axes(salt: str, x_label: str, y_label: str) -> Iterator[tuple[Any, list[str]]]:
    """Give axes to draw on; the list then holds the SVG."""
    import matplotlib as mpl  # noqa: PLC0415 - only a dispatcher that finishes a score job needs it
    from matplotlib.backends.backend_svg import FigureCanvasSVG  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    done: list[str] = []
    with _LOCK, mpl.rc_context(_STYLE | {"svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of letters that it cannot measure: the page draws them with its own fonts
        figure = Figure(figsize=(5, 2.6), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        axes.set_xlabel(x_label)
        axes.set_ylabel(y_label)
        yield axes, done
        file = io.StringIO()
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    done.append(_inline(file.getvalue()))


def _inline(svg: str) -> str:
    """Strip an SVG file to what a page needs, without foreign names and links."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", body)
    return body.replace(INK, "currentColor")
