"""Identities of images, if the source has them: Parquet files with a column `name`, such as LFW's."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from training.data import LabelledImages, Split, parquet

COLUMN = "name"


def identities(source: str, split: Split, images: LabelledImages) -> tuple[str, ...] | None:
    """Return the name of each image [N], or None if the source has no names.

    Args:
        source: as `training.data.load` takes it.
        split: of the images.
        images: loaded from it, possibly the first images only. If damaged images were skipped, names cannot be
            matched to images: the result is None.
    """
    path = Path(source)
    if images.damaged or not path.exists() or not parquet.recognises(path):
        return None
    files: Any = importlib.import_module("pyarrow.parquet")  # an extra, installed since it read the images
    names: list[str] = []
    for _, file in parquet.open_split(path, split, None).files:
        if COLUMN not in files.read_schema(file).names:
            return None
        names += [str(name) for name in files.read_table(file, columns=[COLUMN])[COLUMN].to_pylist()]
    return tuple(names[: len(images)]) if len(names) >= len(images) else None
