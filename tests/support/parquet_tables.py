"""Parquet files of images in the column layout of Hugging Face."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.data.files import encoded, pixels

pa: Any = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
pq: Any = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")

IMAGES = pixels(6)
FILES = [encoded(image) for image in IMAGES]
IMAGE_TYPE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def table(
    path: Path,
    rows: range = range(6),
    *,
    labels: Any = "their place",
    names: list[str] | None = None,
    images: Any = None,
    group: int = 4,
) -> Path:
    """A file with a row an image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    bare = [{"bytes": FILES[n], "path": f"{n}.png"} for n in rows]
    columns = {"image": pa.array(bare, IMAGE_TYPE) if images is None else images}
    if labels is not None:
        columns["label"] = pa.array(list(rows), pa.int64()) if isinstance(labels, str) else labels
    made = pa.table(columns)
    if names is not None:
        features = {"label": {"names": names, "_type": "ClassLabel"}, "image": {"_type": "Image"}}
        made = made.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(made, path, row_group_size=group)
    return path


def with_declared(path: Path, *names: str) -> Path:
    """Add columns that Hugging Face's metadata declare to be labels."""
    made = pq.read_table(table(path, labels=None))
    features: dict[str, Any] = {}
    for name in names:
        made = made.append_column(name, [[0, 1, 0, 1, 0, 1]])
        features[name] = {"names": ["cat", "dog"], "_type": "ClassLabel"}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(made.replace_schema_metadata(metadata), path)
    return path
