"""The pictures of a run folder: sample grids, named by images seen, and the accuracy curve."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.runs import metrics
from training.runs.checkpoint import write_atomically
from training.runs.grids import curve, grid

SAMPLES_FOLDER = "samples"


def write_samples(run: Path, images: NDArray[np.uint8], *, images_seen: int) -> None:
    """Write a grid of samples uint8 [N, H, W, C], named by images seen, and a copy named latest.png."""
    write_atomically(path_at(run, images_seen), write_latest(run, images))


def write_latest(run: Path, images: NDArray[np.uint8]) -> bytes:
    """Write a grid of samples uint8 [N, H, W, C] as latest.png, and return the file's content."""
    (run / SAMPLES_FOLDER).mkdir(exist_ok=True)
    side = images.shape[1]
    picture = _png(grid(images, 10, scale=1 if side >= 64 else 2 if side >= 24 else 4))
    write_atomically(run / SAMPLES_FOLDER / "latest.png", picture)
    return picture


def path_at(run: Path, images_seen: int) -> Path:
    """Return the path of a checkpoint's grid."""
    return run / SAMPLES_FOLDER / f"{images_seen:09d}.png"


def write_accuracy(run: Path) -> None:
    """Draw accuracy.png from the run's metrics, once there are two measurements."""
    measured = [line for line in metrics.read(run) if line.get("test_accuracy") is not None]
    if len(measured) >= 2:
        points = [(float(line["images_seen"]), 100 * float(line["test_accuracy"])) for line in measured]
        write_atomically(run / "accuracy.png", _png(curve(points, title="test accuracy, %, over images seen")))


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
