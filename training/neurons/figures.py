"""Histograms and curves of a neuron as PNG files; needs matplotlib, an extra."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.errors import RunError
from training.neurons.invariance import PANELS, Curve
from training.runs.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, GREY, RED, FAINT = "#2f6f9f", "#9a9a9a", "#c2455a", "#6b6b6b"  # as on every page and sheet
BINS = 50


def histogram(
    path: Path,
    sides: Mapping[str, NDArray[np.floating[Any]]],
    *,
    title: str,
    threshold: float | None = None,
) -> None:
    """Draw a histogram of activations.

    Args:
        path: PNG file to write.
        sides: activations [N] by the name of a set of images; the first set is blue, the others grey.
        title: of the figure.
        threshold: drawn as a vertical line, if given.

    Raises:
        RunError: if matplotlib is not installed.
    """
    figure = _figure(6, 3.5)
    axes = figure.subplots()
    edges = np.histogram_bin_edges(np.concatenate(list(sides.values())), BINS)
    for (name, values), colour in zip(sides.items(), (BLUE, GREY), strict=False):
        label = f"{name} ({len(values):,})"
        axes.hist(values, bins=edges.tolist(), density=True, alpha=0.6, color=colour, label=label)
    if threshold is not None:
        axes.axvline(threshold, color=RED, linewidth=1, label="threshold")
    axes.set(title=title, xlabel="activation", ylabel="density")
    axes.legend(frameon=False)
    _write(figure, path, title=title)


def curves(path: Path, drawn: Mapping[str, Curve], *, title: str, images: int) -> None:
    """Draw one panel per kind of change, which says what it is; a line below says what line, band and axis are.

    Args:
        path: PNG file to write.
        drawn: curves by the kind of change, one of `PANELS`.
        title: of the figure.
        images: number of images that were changed.

    Raises:
        RunError: if matplotlib is not installed.
    """
    figure = _figure(3 * len(drawn), 3.7)
    panels = figure.subplots(1, len(drawn), sharey=True, squeeze=False)[0]
    for axes, (name, curve) in zip(panels, drawn.items(), strict=True):
        low, high = curve.mean - curve.deviation, curve.mean + curve.deviation
        heading, unit, unchanged = PANELS[name]
        axes.axhline(0, color=GREY, linewidth=1)
        axes.axhline(1, color=GREY, linewidth=1, linestyle=":")
        axes.axvline(unchanged, color=GREY, linewidth=1, linestyle=":")
        axes.fill_between(curve.amounts, low, high, color=BLUE, alpha=0.2, linewidth=0)
        axes.plot(curve.amounts, curve.mean, color=BLUE)
        axes.set_title(heading, fontsize=10)
        axes.set_xlabel(unit)
    panels[0].set_ylabel("response")
    figure.suptitle(title)
    figure.supxlabel(legend(images), fontsize=8.5, color=FAINT)
    _write(figure, path, title=f"{title}. {legend(images)}")


def legend(images: int) -> str:
    """Say what line, band and axis of the curves are."""
    return (
        f"Line: mean response to {images} images; band: one standard deviation over them to either side. "
        "Response 0: mean of the distractors; 1: mean of the images unchanged."
    )


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure, in inches, independent of any window system."""
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        raise RunError("pictures of a neuron need matplotlib; get it with: ./mint extra neurons") from None
    return Figure(figsize=(width, height), layout="constrained")


def _write(figure: Figure, path: Path, *, title: str) -> None:
    """Write a PNG that says in its text what it shows, without the library's version: equal figures, equal bytes."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120, metadata={"Software": None, "Title": title})
    write_atomically(path, content.getvalue())
