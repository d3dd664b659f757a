"""Identities of images, if the source has them: Parquet files with a column `name`, such as LFW's."""

from __future__ import annotations

from pathlib import Path

from training.data import LabelledImages, Split
from training.data.formats import parquet

COLUMN = "name"


def identities(source: str, split: Split, images: LabelledImages) -> tuple[str, ...] | None:
    """Return the name of each image [N], or None if the source has no names.

    Args:
        source: as `training.data.load` takes it.
        split: of the images.
        images: loaded from it, possibly with a limit. If damaged images were skipped, names cannot be
            matched to images: the result is None.
    """
    path = Path(source)
    if images.damaged or not path.exists() or not parquet.recognises(path):
        return None
    names = parquet.column(path, split, COLUMN, len(images))
    return None if names is None or len(names) < len(images) else tuple(str(name) for name in names)
