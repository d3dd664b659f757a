"""Event files for TensorBoard in the run folder: losses, speed, accuracy and sample grids, over images seen.

Needs the library: `./mint extra tensorboard`. `tensorboard --logdir runs` shows all runs.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from training.errors import RunError
from training.runs import samples

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from training.loop.progress import Progress

EVENTS_FOLDER = "tensorboard"


@contextlib.contextmanager
def event_files(run: Path) -> Iterator[Callable[[Progress], None]]:
    """Yield a `report` for `training.loop.loop.train` that writes RUN/tensorboard from its first call on.

    Raises:
        RunError: if TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415 - an extra
    except ImportError:
        raise RunError(
            "event files need TensorBoard, which is not installed; get it with: ./mint extra tensorboard"
        ) from None
    with contextlib.ExitStack() as opened:
        writer: SummaryWriter | None = None

        def report(progress: Progress) -> None:
            nonlocal writer
            if writer is None:
                # Hide events after the checkpoint, left by a crash: they are written again.
                writer = SummaryWriter(str(run / EVENTS_FOLDER), purge_step=progress.images_seen)
                opened.callback(writer.close)
            _write(writer, run, progress)

        yield report


def _write(writer: SummaryWriter, run: Path, progress: Progress) -> None:
    """Write one report, with the sample grid if it belongs to a checkpoint."""
    values = {f"loss/{name}": value for name, value in (progress.losses or {}).items()}
    values["images per second"] = progress.images_per_second
    if progress.test_accuracy is not None:
        values["test accuracy"] = progress.test_accuracy
    for name, value in values.items():
        writer.add_scalar(name, value, progress.images_seen)
    picture = samples.path_at(run, progress.images_seen)
    if picture.exists():
        with Image.open(picture) as image:
            pixels = np.asarray(image.convert("RGB"))
        writer.add_image("samples", pixels, progress.images_seen, dataformats="HWC")
    writer.flush()
