"""Whose picture an image is, where its source says so: Parquet files with a column `name`, such as those of LFW."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from training.data import LabelledImages, Split, parquet

COLUMN = "name"


def identities(source: str, split: Split, images: LabelledImages) -> tuple[str, ...] | None:
    """Return the name that goes with each image, or None where the source has none.

    Args:
        source: as `training.data.load` takes it.
        split: that was loaded.
        images: what was loaded of it, perhaps the first images only. Where damaged ones were skipped, names
            cannot be matched to images any more: there are none then.
    """
    path = Path(source)
    if images.damaged or not path.exists() or not parquet.recognises(path):
        return None
    files: Any = importlib.import_module("pyarrow.parquet")  # an extra, which read the images
    names: list[str] = []
    for _, file in parquet.open_split(path, split, None).files:
        if COLUMN not in files.read_schema(file).names:
            return None
        names += [str(name) for name in files.read_table(file, columns=[COLUMN])[COLUMN].to_pylist()]
    return tuple(names[: len(images)]) if len(names) >= len(images) else None
