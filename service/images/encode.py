"""Images as PNG, as JPEG, or as they are."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.images import png

File: TypeAlias = "bytes | memoryview"

JPEG_QUALITY = 95  # the highest that Pillow's documentation advises


@dataclass(frozen=True, slots=True)
class Encoding:
    """How images leave.

    Attributes:
        encode: Makes a file of each image of uint8 [N, H, W, C].
        max_bytes: Upper bound of the bytes of one image's file, from height, width and channels.
        computes: Whether that takes time, which is spent in threads then.
    """

    encode: Callable[[NDArray[np.uint8]], Sequence[File]]
    max_bytes: Callable[[int, int, int], int]
    computes: bool = True


def _png_files(images: NDArray[np.uint8]) -> list[bytes]:
    """Encode images [N, H, W, C], C 1 or 3, as PNG files: the same bytes as in a job's shards."""
    return list(png.encode(images))


def _jpeg_files(images: NDArray[np.uint8]) -> list[bytes]:
    """Encode images [N, H, W, C], C 1 or 3, as JPEG files of quality 95."""
    return [_jpeg(image[:, :, 0] if image.shape[2] == 1 else image) for image in images]


def _raw(images: NDArray[np.uint8]) -> list[memoryview]:
    """Give the row-major bytes of each image of [N, H, W, C], without copying them."""
    return [image.reshape(-1).data for image in np.ascontiguousarray(images)]


def _max_png_bytes(height: int, width: int, channels: int) -> int:
    """Pixels that cannot be compressed, plus the chunks around them."""
    raw = height * (width * channels + 1)
    return raw + raw // 1000 + 256


def _max_jpeg_bytes(height: int, width: int, channels: int) -> int:
    """Whole blocks of noise, two bytes per sample."""
    return 2 * channels * _whole_blocks(height) * _whole_blocks(width) + 1024


def _max_raw_bytes(height: int, width: int, channels: int) -> int:
    return height * width * channels


def _whole_blocks(side: int) -> int:
    return (side + 15) // 16 * 16


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


PNG = Encoding(_png_files, _max_png_bytes)
JPEG = Encoding(_jpeg_files, _max_jpeg_bytes)
RAW = Encoding(_raw, _max_raw_bytes, computes=False)
