"""Images as the client takes and gives them: arrays uint8 [N, H, W, C], Pillow images, paths, the bytes of files."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from mintage.errors import InputError
from mintage.v1 import classification_pb2

_PLAIN_MODES = ("1", "L", "LA", "P", "RGB", "RGBA")  # which PNG has
CHANNELS = (1, 3)  # of an array: grey, or red, green and blue
_CONVERSIONS = {
    **dict.fromkeys(("CMYK", "YCbCr", "HSV", "LAB", "RGBX"), "RGB"),
    **dict.fromkeys(("PA", "RGBa"), "RGBA"),
    "La": "LA",
}

Picture: TypeAlias = "str | os.PathLike[str] | bytes | Image.Image"
Pictures: TypeAlias = "NDArray[np.uint8] | Picture | Iterable[Picture]"


def to_pil(images: NDArray[np.uint8]) -> list[Image.Image]:
    """Make Pillow images, `L` or `RGB`, of an array [N, H, W, C] with C 1 or 3."""
    return [Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image) for image in images]


def from_raw(files: Sequence[bytes], height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """Make an array [N, H, W, C] of raw images."""
    return np.frombuffer(bytearray(b"".join(files)), np.uint8).reshape(len(files), height, width, channels)


def upload_of(pictures: Pictures) -> dict[str, Any]:
    """Make the field of a request that carries pictures: an array goes raw, everything else as image files.

    An array [H, W, C] is one picture.

    Raises:
        InputError: if it is neither.
        OSError: if a path cannot be read.
    """
    if isinstance(pictures, np.ndarray):
        one = pictures.ndim == 3 and pictures.shape[2] in CHANNELS
        return {"raw": _raw(pictures[np.newaxis] if one else pictures)}
    several = [pictures] if isinstance(pictures, str | bytes | os.PathLike | Image.Image) else pictures
    return {"encoded": classification_pb2.EncodedImages(files=[_file(picture) for picture in several])}


def fitted(picture: str | os.PathLike[str], height: int, width: int) -> Image.Image:
    """Open an image file, stand it upright, and bring it to a size as training does.

    It is laid on white. Its largest centred part of that aspect is kept and resized with Lanczos's filter, which has no
    aliasing.

    Raises:
        InputError: if it is no image that can be read.
        OSError: if the path cannot be read.
    """
    content = Path(picture).read_bytes()
    try:
        with Image.open(io.BytesIO(content)) as image:
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I"):
                upright = _from_16_bit(upright)
            elif upright.has_transparency_data:  # on white before it is resized, as training does
                white = Image.new("RGBA", upright.size, "white")
                upright = Image.alpha_composite(white, upright.convert("RGBA")).convert("RGB")
            elif upright.mode in ("1", "P"):
                upright = upright.convert("RGB")
            return ImageOps.fit(upright, (width, height), method=Image.Resampling.LANCZOS)
    except Exception:  # decoders raise nearly anything on damaged files
        raise InputError(f"{picture} is no image that can be read; PNG and JPEG files can") from None


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits, as the server does; Pillow's own conversion would clip."""
    deep = np.asarray(image).astype(np.float64)
    return Image.fromarray(np.clip(np.rint(deep / 257), 0, 255).astype(np.uint8))


def _raw(images: NDArray[np.uint8]) -> classification_pb2.RawImages:
    if images.dtype != np.uint8 or images.ndim != 4:
        raise InputError(f"images must be uint8 [N, H, W, C], not {images.dtype} {list(images.shape)}")
    count, height, width, channels = images.shape
    return classification_pb2.RawImages(
        count=count, height=height, width=width, channels=channels, pixels=images.tobytes()
    )


def _file(picture: Picture) -> bytes:
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, str | os.PathLike):
        return Path(picture).read_bytes()
    if isinstance(picture, Image.Image):
        return _png(picture)
    raise InputError(f"an image must be a path, bytes or a Pillow image, not {type(picture).__name__}")


def _png(picture: Image.Image) -> bytes:
    """Write a Pillow image as PNG, in a mode that PNG and the server know."""
    mode = picture.mode if picture.mode in _PLAIN_MODES else _CONVERSIONS.get(picture.mode)
    if mode is None:
        raise InputError(
            f"a Pillow image of mode {picture.mode} has no range of 0 to 255; convert it to L or RGB as you mean it"
        )
    file = io.BytesIO()
    try:
        (picture if mode == picture.mode else picture.convert(mode)).save(file, "PNG")
    except (OSError, SyntaxError, ValueError) as error:  # a damaged file is found when its pixels are read
        raise InputError(f"a Pillow image cannot be read: {error}") from None
    return file.getvalue()
