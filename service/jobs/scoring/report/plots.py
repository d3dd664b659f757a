"""The plots of a report as SVG text for a page, in the page's colours: light and dark alike."""

from __future__ import annotations

import io
import re
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.look import ACCENT, ALERT, FAINT, INK

MAX_LABELS = 30  # class names that fit below a bar chart
HIDES = 20  # times as high as the middle one a bar must be to hide the rest
OURS, REFERENCE = "these images", "the reference"
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


@dataclass(frozen=True, slots=True)
class Spread:
    """How many images are of each value; `edges` are those of the bins, one more than counts."""

    counts: Sequence[int]
    edges: Sequence[float] = ()

    def shares(self) -> NDArray[np.float64]:
        """Return the share of each bin in percent."""
        counts = np.asarray(self.counts, np.float64)
        shares: NDArray[np.float64] = 100 * counts / max(counts.sum(), 1)
        return shares

    def densities(self) -> NDArray[np.float64]:
        """Return the share of each bin, in percent, divided by its width."""
        densities: NDArray[np.float64] = self.shares() / np.diff(self.edges)
        return densities


def class_counts(names: Sequence[str], ours: Spread, reference: Spread | None = None) -> str:
    """Draw which share of the images is of each class, and of the reference behind it."""
    label = f"bar chart: most probable class of {_images(ours, reference)}"
    with _axes("classes", label, "most probable class", "images, %") as (axes, done):
        places = np.arange(len(names))
        if reference is not None:
            axes.bar(places, reference.shares(), width=0.9, color=FAINT, alpha=0.35, label=REFERENCE)
        axes.bar(places, ours.shares(), width=0.6, color=ACCENT, label=OURS)
        _scaled(axes, [ours.shares(), *([] if reference is None else [reference.shares()])])
        if len(names) <= MAX_LABELS:
            long = max(len(name) for name in names) * len(names) > 60
            axes.set_xticks(places, names, rotation=60 if long else 0, ha="right" if long else "center")
        _legend(axes, reference)
    return done[0]


def shares(name: str, ours: Spread, reference: Spread | None = None) -> str:
    """Draw a histogram of numbers from 0 to 1, and that of the reference behind it."""
    with _axes(name, f"histogram: {name} of {_images(ours, reference)}", name, "images, %") as (axes, done):
        if reference is not None:
            axes.stairs(reference.shares(), reference.edges, fill=True, color=FAINT, alpha=0.35, label=REFERENCE)
        axes.stairs(ours.shares(), ours.edges, color=ACCENT, linewidth=1.6, fill=reference is None, label=OURS)
        _scaled(axes, [ours.shares(), *([] if reference is None else [reference.shares()])])
        axes.set_xlim(0, 1)
        _legend(axes, reference)
    return done[0]


def activations(name: str, ours: Spread, reference: Spread | None = None, *, threshold: float) -> str:
    """Draw a histogram of activations, that of the reference, and the threshold above which the concept is detected."""
    label = f"histogram: activation of {name} of {_images(ours, reference)}, threshold {threshold:.4g}"
    with _axes(name, label, f"activation of {name}", "density, % per unit") as (axes, done):
        if reference is not None:
            axes.stairs(reference.densities(), reference.edges, fill=True, color=FAINT, alpha=0.35, label=REFERENCE)
        axes.stairs(ours.densities(), ours.edges, color=ACCENT, linewidth=1.6, fill=reference is None, label=OURS)
        _scaled(axes, [ours.densities(), *([] if reference is None else [reference.densities()])])
        axes.axvline(threshold, color=ALERT, linestyle="--")
        axes.annotate(
            "threshold", (threshold, 1), xycoords=("data", "axes fraction"), color=ALERT, ha="center", va="bottom"
        )
        _legend(axes, reference)
    return done[0]


def _images(ours: Spread, reference: Spread | None) -> str:
    """Say of how many images a plot is."""
    others = "" if reference is None else f", behind it of the reference's {sum(reference.counts):,}"
    return f"{sum(ours.counts):,} images{others}"


def _scaled(axes: Any, heights: list[NDArray[np.float64]]) -> None:
    """Take a logarithmic axis where one bar would hide the rest."""
    if any(_hides(each) for each in heights):
        lowest = min(float(each[each > 0].min()) for each in heights if (each > 0).any())
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        axes.yaxis.set_minor_formatter(lambda value, _: "")
        axes.set_ylim(bottom=lowest / 2)
        axes.set_ylabel(f"{axes.get_ylabel()} (logarithmic)")


def _hides(heights: NDArray[np.float64]) -> bool:
    """Whether the highest bar is so much higher than the middle one that the rest cannot be seen."""
    drawn = heights[heights > 0]
    return len(drawn) > 1 and float(drawn.max()) > HIDES * float(np.median(drawn))


def _legend(axes: Any, reference: Spread | None) -> None:
    if reference is not None:
        axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)


@contextmanager
def _axes(salt: str, described: str, x_label: str, y_label: str) -> Iterator[tuple[Any, list[str]]]:
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
    done.append(_inline(file.getvalue(), described))


def _inline(svg: str, described: str) -> str:
    """Strip an SVG file to what a page needs, without foreign names and links, and say what it shows."""
    body = svg[svg.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>\s*", "", body, flags=re.DOTALL)
    body = re.sub(r'\sxmlns(:xlink)?="[^"]*"', "", body)
    label = escape(described)
    body = body.replace("<svg", f'<svg role="img" aria-label="{label}"', 1).replace(">", f"><title>{label}</title>", 1)
    for fixed, themed in ((INK, "currentColor"), (ACCENT, "var(--accent)"), (FAINT, "var(--dim)")):
        body = body.replace(fixed, themed)
    return body
