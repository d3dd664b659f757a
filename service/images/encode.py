"""Images as PNG, as JPEG, or as they are."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.images import png

JPEG_QUALITY = 95  # the highest that Pillow's documentation advises


def encode_png(images: NDArray[np.uint8]) -> list[bytes]:
    """Encode images [N, H, W, C], C 1 or 3, as PNG files: the same bytes as in a job's shards."""
    return list(png.encode(images))


def encode_jpeg(images: NDArray[np.uint8]) -> list[bytes]:
    """Encode images [N, H, W, C], C 1 or 3, as JPEG files of quality 95."""
    return [_jpeg(image[:, :, 0] if image.shape[2] == 1 else image) for image in images]


def encode_raw(images: NDArray[np.uint8]) -> list[bytes]:
    """Give the row-major bytes of each image of [N, H, W, C]."""
    return [image.tobytes() for image in images]


def max_png_bytes(height: int, width: int, channels: int) -> int:
    """Upper bound of the bytes of one PNG file: pixels that zlib cannot compress, plus the chunks around them."""
    raw = height * (width * channels + 1)
    return raw + raw // 1000 + 256


def max_jpeg_bytes(height: int, width: int, channels: int) -> int:
    """Upper bound of the bytes of one JPEG file: whole blocks of noise, two bytes per sample."""
    return 2 * channels * _whole_blocks(height) * _whole_blocks(width) + 1024


def max_raw_bytes(height: int, width: int, channels: int) -> int:
    """Bytes of one image without any format."""
    return height * width * channels


def _whole_blocks(side: int) -> int:
    return (side + 15) // 16 * 16


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()
