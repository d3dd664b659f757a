"""The pictures of a neuron.

| file | content |
| --- | --- |
| `top.png` | the 48 images with the strongest response |
| `optimal.png` | its optimal stimulus, from ascents in pixels and in frequencies, with captions |
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
from training.neurons.stimuli import STARTS, STEPS, Form, optimal_stimulus, top_stimuli
from training.progress import BeginTask
from training.runs.files import write_atomically
from training.runs.grids import grid

COLUMNS = 8  # of the sheet of 48 images
WIDE = 96  # px, least width of an image on a sheet
FORMS = " and ".join(f"ascent in {form}" for form in get_args(Form))
NOTE = (
    f"Images of one contrast that excite the neuron most, the best of {STARTS} ascents in each form: pixel by pixel, "
    "and in Fourier coefficients where low frequencies change first. Mid grey is zero."
)


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
    begin: BeginTask = lambda name, total: lambda more: None,
) -> Path:
    """Draw the optimal stimulus, in pixels and in frequencies; return the file."""
    stimuli = {
        form: optimal_stimulus(
            trained.network,
            stage=neuron.stage,
            unit=neuron.unit,
            sign=neuron.sign,
            form=form,
            steps=STEPS,
            seed=seed,
            report=begin(f"optimal stimulus, {form}", STEPS),
        )
        for form in get_args(Form)
    }
    panels = [
        Captioned(found.image, f"ascent in {form}", f"activation {found.activation:.4g}")
        for form, found in stimuli.items()
    ]
    picture = captioned(panels, title=f"Optimal stimulus of {_title(neuron)}", note=NOTE, width=2 * WIDE)
    return _write(
        folder / "optimal.png", picture, title=f"Optimal stimulus of {_title(neuron)}; from left to right: {FORMS}"
    )


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
    optimal = draw_optimal(folder, trained, neuron, seed=seed, begin=begin)
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
