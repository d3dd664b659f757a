"""One history of compression for images of every source."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.training.data.files import encoded, pixels, tar
from training.data import Options, load
from training.errors import DataError

COLOUR, GREY = pixels(3, height=16, width=16, channels=3), pixels(3, height=16, width=16)


def through_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """What Pillow makes of one image [H, W, C]."""
    file = io.BytesIO(encoded(image, "JPEG", quality=quality, subsampling="4:2:0"))
    return np.asarray(Image.open(file)).reshape(image.shape)


def idx_folder(folder: Path) -> Path:
    header = struct.pack(">IIII", 0x803, 3, 16, 16)
    (folder / "train-images-idx3-ubyte").write_bytes(header + GREY.tobytes())
    (folder / "train-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, 3) + bytes(3))
    return folder


def plain_folder(folder: Path) -> Path:
    for number, image in enumerate(COLOUR):
        (folder / f"{number}.png").write_bytes(encoded(image))
    return folder


def tar_file(folder: Path) -> Path:
    return tar(folder / "train.tar", {f"{number}.png": encoded(image) for number, image in enumerate(COLOUR)})


def parquet_file(folder: Path) -> Path:
    pa = pytest.importorskip("pyarrow", reason="the extra `parquet` is not installed")
    pq = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    rows = [{"image": {"bytes": encoded(image), "path": None}} for image in COLOUR]
    pq.write_table(pa.Table.from_pylist(rows), folder / "train.parquet")
    return folder / "train.parquet"


@pytest.mark.parametrize(
    ("made", "expected"), [(idx_folder, GREY), (plain_folder, COLOUR), (tar_file, COLOUR), (parquet_file, COLOUR)]
)
def test_images_of_every_format_go_through_one_jpeg(
    tmp_path: Path, made: Callable[[Path], Path], expected: np.ndarray
) -> None:
    data = load(made(tmp_path), "train", jpeg_quality=40)

    assert data.jpeg_quality == 40
    assert np.array_equal(data.images, np.stack([through_jpeg(image, 40) for image in expected]))


def test_they_do_so_at_their_final_size(tmp_path: Path) -> None:
    source = plain_folder(tmp_path)

    small, compressed = load(source, "train", size=(8, 8)), load(source, "train", size=(8, 8), jpeg_quality=60)

    assert np.array_equal(compressed.images, np.stack([through_jpeg(image, 60) for image in small.images]))


def test_every_quality_has_an_entry_of_its_own_in_the_cache(tmp_path: Path) -> None:
    source = plain_folder(tmp_path)

    digests = [load(source, "train", jpeg_quality=quality).sha256() for quality in (None, 40, 60, 40, None)]

    assert len(set(digests)) == 3
    assert digests[0] == digests[4]
    assert digests[1] == digests[3]


@pytest.mark.parametrize("quality", [0, 96, -1])
def test_other_qualities_are_refused(quality: int) -> None:
    with pytest.raises(DataError, match=f"--jpeg {quality} must lie from 1 to 95"):
        Options(jpeg_quality=quality)
