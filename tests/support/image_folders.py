"""Real folders of images: files, tars and Parquet files that other tools wrote."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.support.formula import made_images


def picture(index: int, shape: tuple[int, int, int] = (8, 6, 3), seed: int = 3) -> np.ndarray:
    """Image `index` of a seed: uint8 [H, W, C]."""
    image: np.ndarray = made_images(seed, range(index, index + 1), shape)[0]
    return image


def png(image: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """An image as a file."""
    file = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(file, kind, **options)
    return file.getvalue()


def image_files(folder: Path, count: int, **options: Any) -> None:
    """PNG files `0/000.png`, ... in three subfolders, whose order is that of the indices."""
    for index in range(count):
        path = folder / f"{index * 3 // count}" / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(picture(index, **options)))


def tar_of(
    path: Path, indices: range, *, kind: int = tarfile.USTAR_FORMAT, name: str = "{:05d}", **options: Any
) -> None:
    """A WebDataset tar with a JSON file beside each image."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=kind) as tar:
        for index in indices:
            for suffix, data in (("png", png(picture(index, **options))), ("json", b"{}")):
                info = tarfile.TarInfo(f"{name.format(index)}.{suffix}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def parquet_of(path: Path, indices: range, *, struct: bool = True, **options: Any) -> None:
    """A Parquet file as Hugging Face writes it, or with plain bytes; row groups of 3."""
    path.parent.mkdir(parents=True, exist_ok=True)
    files = [png(picture(index, **options)) for index in indices]
    rows = [{"bytes": data, "path": None} for data in files] if struct else files
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())]) if struct else pa.binary()
    table = pa.table({"image": pa.array(rows, kind), "label": list(indices)})
    pq.write_table(table, path, row_group_size=3)
