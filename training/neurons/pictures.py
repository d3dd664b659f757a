"""The pictures of a neuron.

| file | content |
| --- | --- |
| `top.png` | the 48 images with the strongest response |
| `optimal.png` | its optimal stimulus in several forms and, beside it, the mean of the 48 images; with captions |
| `histogram.png` | histogram of activations of either side |
| `invariance.png` | its response to moved, scaled and rotated images, and what line, band and axis are |

Each says in its text as a PNG file what it shows.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from training.neurons import figures
from training.neurons.activations import LoadedRun, activations_of
from training.neurons.captions import Captioned, captioned
from training.neurons.invariance import IMAGES, chosen_positives, response_curves
from training.neurons.natural_stimuli import COMPONENTS, natural_stimulus
from training.neurons.stimuli import STARTS, STEPS, Form, optimal_stimulus, top_stimuli
from training.progress import BeginTask
from training.runs.files import write_atomically
from training.runs.grids import grid

COLUMNS = 8  # of the sheet of 48 images
WIDE = 96  # px, least width of an image on a sheet
NOTE = (
    f"Images of one contrast that excite the neuron most, the best of {STARTS} ascents in each form: pixel by pixel, "
    "and in Fourier coefficients where low frequencies change first. Mid grey is zero."
)
NATURAL_NOTE = (
    f" Third: among what the {COMPONENTS} principal components of {{what}} can show, in their usual strength, the mean "
    "over small moves. Fourth: the mean of the {count} images with the strongest response."
)


@dataclass(frozen=True, slots=True, eq=False)
class Photographs:
    """What the panels of `draw_optimal` that need images are made of."""

    images: NDArray[np.uint8]  # uint8 [N, H, W, C], whose principal components are taken
    what: str  # they are
    best: NDArray[np.uint8]  # uint8 [M, H, W, C], the images with the strongest response


@dataclass(frozen=True, slots=True)
class Neuron:
    """A unit to draw, with a name for its files."""

    name: str
    stage: int  # from 1
    unit: int
    sign: int = 1
    threshold: float | None = None  # of sign * activation


def draw_optimal(
    folder: Path,
    trained: LoadedRun,
    neuron: Neuron,
    *,
    seed: int,
    photographs: Photographs | None = None,
    begin: BeginTask = lambda name, total: lambda more: None,
) -> Path:
    """Draw the optimal stimulus in pixels, in frequencies and, given photographs, among such; return the file."""
    place = {"stage": neuron.stage, "unit": neuron.unit, "sign": neuron.sign}
    panels = []
    for form in get_args(Form):
        report = begin(f"optimal stimulus, {form}", STEPS)
        found = optimal_stimulus(trained.network, **place, form=form, steps=STEPS, seed=seed, report=report)
        panels.append(Captioned(found.image, f"ascent in {form}", f"activation {found.activation:.4g}"))
    note = NOTE
    if photographs is not None:
        report = begin("optimal stimulus, components", STEPS)
        found = natural_stimulus(trained.network, photographs.images, **place, steps=STEPS, seed=seed, report=report)
        panels.append(Captioned(found.image, "ascent in components", f"activation {found.activation:.4g}"))
        count = len(photographs.best)
        panels.append(Captioned(_mean(photographs.best), "mean of the strongest", f"{count} images"))
        note += NATURAL_NOTE.format(what=photographs.what, count=count)
    heading = f"Optimal stimulus of {_title(neuron)}"
    picture = captioned(panels, title=heading, note=note, width=2 * WIDE)
    forms = "; ".join(panel.above for panel in panels)
    return _write(folder / "optimal.png", picture, title=f"{heading}; from left to right: {forms}")


def draw(
    folder: Path,
    trained: LoadedRun,
    neuron: Neuron,
    *,
    images: NDArray[np.uint8],
    positives: NDArray[np.bool_] | None = None,
    seed: int,
    begin: BeginTask = lambda name, total: lambda more: None,
) -> list[Path]:
    """Draw all pictures into an existing folder; return the files.

    Args:
        folder: to write to.
        trained: the neuron's run.
        neuron: to draw.
        images: uint8 [N, H, W, C].
        positives: bool [N]; if not given, the images with the strongest response are moved, scaled and rotated
            instead of positives.
        seed: of the stimulus's starts and of the choice of images.
        begin: called as each task starts; see `training.progress`.

    Raises:
        RunError: if matplotlib is not installed.
    """
    report = begin(f"activations of {neuron.name}", len(images))
    found = activations_of(trained.network, images, report=report)[neuron.stage - 1][:, neuron.unit]
    best = top_stimuli(found, sign=neuron.sign)
    if positives is None:
        sides, shown, others = {"images": found}, best[:IMAGES], found
    else:
        others = found[~positives]
        sides = {neuron.name: found[positives], "distractors": others}
        shown = chosen_positives(positives, seed=seed)
    threshold = None if neuron.threshold is None else neuron.sign * neuron.threshold
    title = _title(neuron)
    figures.histogram(folder / "histogram.png", sides, title=title, threshold=threshold)
    _draw_invariance(folder, trained, neuron, images=images[shown], distractors=float(others.mean()), title=title)
    sheet = _sheet(
        folder / "top.png", images[best], title=f"The {len(best)} images with the strongest response of {title}"
    )
    unlike = images if positives is None else images[~positives]
    what = f"{len(unlike):,} images" + ("" if positives is None else f" without {neuron.name}")
    photographs = Photographs(unlike, what, images[best])
    optimal = draw_optimal(folder, trained, neuron, seed=seed, photographs=photographs, begin=begin)
    return [sheet, optimal, folder / "histogram.png", folder / "invariance.png"]


def _draw_invariance(
    folder: Path, trained: LoadedRun, neuron: Neuron, *, images: NDArray[np.uint8], distractors: float, title: str
) -> None:
    """Draw the response curves of images [K, H, W, C]."""
    device = next(trained.network.parameters()).device

    def activation(batch: Tensor) -> Tensor:
        units: Tensor = trained.network(batch)[neuron.stage - 1].flatten(1)[:, neuron.unit]
        return units

    drawn = response_curves(activation, images, sign=neuron.sign, distractors=distractors, device=device)
    figures.curves(folder / "invariance.png", drawn, title=title, images=len(images))


def _mean(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the mean of images [M, H, W, C], stretched to full contrast."""
    mean = images.astype(np.float64).mean(axis=0)
    low, high = mean.min(), mean.max()
    levels: NDArray[np.uint8] = np.rint(255 * (mean - low) / max(high - low, 1e-9)).astype(np.uint8)
    return levels


def _title(neuron: Neuron) -> str:
    return f"{neuron.name}: stage {neuron.stage}, unit {neuron.unit}"


def _sheet(path: Path, images: NDArray[np.uint8], *, title: str) -> Path:
    """Write a grid of images [N, H, W, C], enlarged to a minimal width."""
    return _write(path, grid(images, COLUMNS, scale=max(1, WIDE // images.shape[2])), title=title)


def _write(path: Path, picture: Image.Image, *, title: str) -> Path:
    """Write a PNG that says in its text what it shows."""
    content, text = io.BytesIO(), PngInfo()
    text.add_text("Title", title)
    picture.save(content, "PNG", pnginfo=text)
    write_atomically(path, content.getvalue())
    return path
