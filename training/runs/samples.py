"""The pictures of a run folder: sample grids, named by images seen, and the curves of its metrics."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.runs import metrics
from training.runs.curves import curves_of, draw
from training.runs.files import write_atomically
from training.runs.grids import grid

SAMPLES_FOLDER, LATEST = "samples", "latest.png"
CURVES_FILE = "curves.png"


def write_samples(run: Path, images: NDArray[np.uint8], *, images_seen: int) -> None:
    """Write a grid of samples uint8 [N, H, W, C], named by images seen, and a copy named latest.png."""
    write_atomically(path_at(run, images_seen), write_latest(run, images))


def write_latest(run: Path, images: NDArray[np.uint8]) -> bytes:
    """Write a grid of samples uint8 [N, H, W, C] as latest.png, and return the file's content."""
    (run / SAMPLES_FOLDER).mkdir(exist_ok=True)
    side = images.shape[1]
    picture = _png(grid(images, 10, scale=1 if side >= 64 else 2 if side >= 24 else 4))
    write_atomically(run / SAMPLES_FOLDER / LATEST, picture)
    return picture


def path_at(run: Path, images_seen: int) -> Path:
    """Return the path of a checkpoint's grid."""
    return run / SAMPLES_FOLDER / f"{images_seen:09d}.png"


def write_curves(run: Path) -> None:
    """Draw curves.png from the run's metrics, once there are two measurements of something."""
    drawn = draw({run.name: curves_of(metrics.read(run))})
    if drawn is not None:
        write_atomically(run / CURVES_FILE, _png(drawn))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
