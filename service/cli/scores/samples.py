"""Loads the images that `mintage score` scores: from a run, a sample job, or a folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from rich.progress import Progress

    from handlers.compute.model import Model
    from training.data import Options
    from training.data.report import PassedOver

MICRO_BATCH = 64  # and precision `auto`, the defaults of `mintage pack`, so that a run gives the images of its archive
FROM_A_RUN = 10_000  # images by default, as in the protocol of 2014

Report = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Samples:
    """Images uint8 [N, H, W, C] in order, their source, the seed if they were generated here, and what was not read."""

    images: NDArray[np.uint8]
    source: str
    seed: int | None = None
    passed_over: tuple[PassedOver, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """The shape of one image, (H, W, C)."""
        _, height, width, channels = self.images.shape
        return height, width, channels


def is_run(path: Path) -> bool:
    """Return whether a path is a run folder."""
    from training.runs.checkpoint import CONFIG_FILE, WEIGHTS_FILE

    return (path / CONFIG_FILE).is_file() and (path / WEIGHTS_FILE).is_file()


def shape_of(run: Path) -> tuple[int, int, int]:
    """Return the shape (H, W, C) of the images that a run generates.

    Raises:
        RunError: if its configuration is damaged.
    """
    from training.runs.checkpoint import load_config

    config = load_config(run)
    return config.height, config.width, config.channels


def read(path: Path, *, count: int | None, options: Options, progress: Progress) -> Samples:
    """Read images from a folder or from a sample job's output folder.

    Args:
        path: anything that `training.data.load` takes.
        count: number of images to read, the first of each class in turn; None for all.
        options: how images are treated; none may be damaged.
        progress: shows a bar during decoding.

    Raises:
        DataError: if there are fewer, or one is damaged.
    """
    from service.cli.data_options import load_split
    from training.errors import DataError

    options = dataclasses.replace(options, limit=count, max_damaged=0)
    found = load_split(str(path), "train", options, progress=progress)
    if count is not None and len(found) < count:
        raise DataError(f"{path} holds {len(found)} images, fewer than --count {count}")
    return Samples(found.images, str(path), passed_over=found.passed_over)


def generate(path: Path, *, count: int, seed: int, report: Report) -> Samples:
    """Generate images with a run's averaged generator: those of a sample job of its archive with this seed.

    Args:
        path: the run folder.
        count: number of images, >= 1.
        seed: of the latents, from 0 to 2^64 - 1.
        report: called with the number of images just done.

    Raises:
        RunError: if the run folder is damaged.
        NotFiniteError: if an image is not finite.
    """
    from handlers.errors import NotFiniteError
    from handlers.operations.direct import generate as generated
    from handlers.protocol.requests import Failure, Generate

    model = _generator(path)
    images = np.empty((count, *model.image_shape), np.uint8)
    for start in range(0, count, MICRO_BATCH):
        rows = slice(start, min(start + MICRO_BATCH, count))
        [made] = generated(model, [Generate(seed, start, rows.stop - start)])
        if isinstance(made, Failure):
            raise NotFiniteError(made.message)
        images[rows] = made
        report(rows.stop - start)
    return Samples(images, str(path), seed)


def treated(samples: Samples, options: Options) -> Samples:
    """Return generated images in the size, channels and JPEG quality that options ask for."""
    from PIL import Image

    from training.data.image import fitted

    size, channels, quality = (
        options.size or samples.shape[:2],
        options.channels or samples.shape[2],
        options.jpeg_quality,
    )
    if quality is None and (*size, channels) == samples.shape:
        return samples
    images = np.stack(
        [
            fitted(
                Image.fromarray(image[..., 0] if image.shape[2] == 1 else image),
                size=size,
                channels=channels,
                jpeg_quality=quality,
            )
            for image in samples.images
        ]
    )
    return dataclasses.replace(samples, images=images)


def _generator(path: Path) -> Model:
    """Load the averaged generator of a run as a server does."""
    import torch

    from handlers.compute.model import from_run
    from handlers.errors import ModelError
    from training.errors import RunError

    try:
        return from_run(path, "generator", torch.device("cpu"), micro_batch=MICRO_BATCH)
    except ModelError as error:
        raise RunError(f"{path}: {error}") from None
