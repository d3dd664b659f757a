"""A run cut down to what serving reads, to be shipped: configuration, averaged weights, card and the last samples."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Literal

from safetensors import safe_open
from safetensors.torch import save

from training.checkpoint import CONFIG, WEIGHTS, load_run, write_atomically
from training.errors import RunError

CARD = "card.md"
SAMPLES = "samples/latest.png"
PREFIXES = {"generator": "generator_average", "classifier": "discriminator_average"}  # in the checkpoint


def export(run: Path, folder: Path, *, only: Literal["generator", "classifier"] | None = None) -> Path:
    """Copy what serving reads of a run into a folder that is made; returns the folder.

    What resuming needs (raw weights, moments) stays behind, so the copy can be packed but not trained further.

    Args:
        run: the run folder.
        folder: where to; made if missing.
        only: leave the other network behind too.

    Raises:
        RunError: if the run has no sound weights, or the folder exists and is not empty.
    """
    opened = load_run(run)
    if folder.exists() and any(folder.iterdir()):
        raise RunError(f"{folder} exists and is not empty; name another folder")
    averages = {name: tensor for name, tensor in opened.weights.items() if "_average." in name}
    if only is not None:
        averages = {name: averages[name] for name in averages if name.startswith(f"{PREFIXES[only]}.")}
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run / CARD, folder / CARD)
    if (run / SAMPLES).exists():
        (folder / SAMPLES).parent.mkdir(exist_ok=True)
        shutil.copyfile(run / SAMPLES, folder / SAMPLES)
    write_atomically(folder / CONFIG, opened.config.to_json().encode())
    with safe_open(run / WEIGHTS, "pt") as file:
        write_atomically(folder / WEIGHTS, save(averages, file.metadata()))
    return folder
