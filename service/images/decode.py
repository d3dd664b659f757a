"""Image files to pixels. The files are untrusted: nothing is decoded before its header was checked."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import PurePath
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from PIL import Image, ImageOps, PngImagePlugin

from service.images.resize import fitted
from service.images.threads import check
from service.validation import Violations

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # as Pillow names them; training reads the same
FORMATS_SHOWN = "PNG, JPEG, WebP, BMP, GIF, TIFF or PPM"
ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
UNREAD_ENDINGS = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".tga", ".exr", ".dng", ".nef", ".cr2", ".arw")
NO_IMAGES = (".txt", ".json", ".jsonl", ".csv", ".tsv", ".xml", ".md", ".html", ".cls", ".yaml", ".yml")  # not opened
CHANNELS = (1, 3)  # what an image file can hold here
MAX_SCANS = 100  # of a JPEG file, each of which is one more pass over its pixels; programs write ten or so
_JPEG, _SCAN = b"\xff\xd8", b"\xff\xda"  # how a file and a scan begin; among pixels a zero follows each 0xff
MAX_TEXT_BYTES = 4 * 2**20  # of what a PNG file says besides its pixels, which may be packed a thousandfold
PngImagePlugin.MAX_TEXT_CHUNK = PngImagePlugin.MAX_TEXT_MEMORY = MAX_TEXT_BYTES

# Pillow only warns between one and two times its own limit of pixels; here that is an error like any other.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)


def looks_like_image(name: str, opened: Callable[[], AbstractContextManager[BinaryIO]]) -> bool:
    """Return whether a file is an image, by its name if that is an image's, else by its content: as for training data.

    Args:
        name: of the file.
        opened: opens it, to read the header.
    """
    ending = PurePath(name).suffix.lower()
    if ending in (*ENDINGS, *UNREAD_ENDINGS):
        return True
    if ending in NO_IMAGES:
        return False
    try:
        with opened() as file, Image.open(file, formats=FORMATS):
            return True
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return True
    except Exception:  # Pillow raises almost anything for files that are none
        return False


def decode(
    files: Sequence[bytes], *, height: int, width: int, channels: int, max_pixels: int, field: str
) -> NDArray[np.uint8]:
    """Decode image files that must all have one size; colour is converted, transparency is laid on white.

    Args:
        files: PNG, JPEG, WebP, BMP, GIF, TIFF or PPM, as their content tells; of several frames the first.
        height: of every image in pixels, after its EXIF orientation is applied.
        width: as height.
        channels: 1 for grey, 3 for RGB: what the pixels are converted to.
        max_pixels: Most pixels that a header may announce.
        field: Path of `files` in the request, for the errors.

    Returns: [N, height, width, channels].

    Raises:
        InvalidArgument: naming every file that is not such an image.
        AbandonedError: if nobody waits for them any more.
    """
    violations = Violations()
    decoded = np.zeros((len(files), height, width, channels), np.uint8)  # [N, H, W, C]
    for index, file in enumerate(files):
        check()
        try:
            decoded[index] = _decode(file, height, width, channels, max_pixels)
        except UnreadableImageError as error:
            violations.add(f"{field}[{index}]", str(error))
    violations.check()
    return decoded


class UnreadableImageError(Exception):
    """Raised when a file is not a usable image; the text continues a sentence that begins with its name."""


def decode_fitted(
    file: bytes, *, height: int, width: int, channels: int, max_pixels: int
) -> tuple[NDArray[np.uint8], bool]:
    """Decode an image file of any size and bring it to one size; colour and transparency are treated as by `decode`.

    The largest centred part of the wanted aspect is kept and resized with Lanczos's filter, as for training data.

    Args:
        file: as `decode` takes it.
        height: wanted, in pixels.
        width: wanted, in pixels.
        channels: 1 for grey, 3 for RGB.
        max_pixels: most pixels that a header may announce.

    Returns: [height, width, channels], and whether it was resized.

    Raises:
        UnreadableImageError: if it is no such image; the text says why.
    """
    if not file:
        raise UnreadableImageError("is empty")
    with _opened(file, max_pixels) as image:
        try:
            image.load()
            pixels = _pixels(ImageOps.exif_transpose(image), channels)
            return fitted(pixels, height, width), pixels.shape[:2] != (height, width)
        except (MemoryError, UnreadableImageError):
            raise
        except Exception as error:  # decoders raise nearly anything on damaged files
            raise _unreadable(error, "cannot be decoded: the file is damaged or incomplete") from error


def _decode(file: bytes, height: int, width: int, channels: int, max_pixels: int) -> NDArray[np.uint8]:
    if not file:
        raise UnreadableImageError("is empty")
    with _opened(file, max_pixels) as image:
        if image.size not in ((width, height), (height, width)):
            raise _wrong_size(image.size, height, width)
        try:
            image.load()
            upright = ImageOps.exif_transpose(image)
            pixels = _pixels(upright, channels)
        except Exception as error:  # decoders raise nearly anything on damaged files
            raise _unreadable(error, "cannot be decoded: the file is damaged or incomplete") from error
    if upright.size != (width, height):
        raise _wrong_size(upright.size, height, width)
    return pixels


def _opened(file: bytes, max_pixels: int) -> Image.Image:
    """Open an image file that may be decoded; reads the header only."""
    try:
        image = Image.open(io.BytesIO(file), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnreadableImageError(f"has more than {max_pixels:,} pixels") from error
    except Exception as error:  # as above
        raise _unreadable(error, f"is no {FORMATS_SHOWN} file") from error
    if image.width * image.height > max_pixels:
        raise _too_many_pixels(image.size, max_pixels)
    scans = file.count(_SCAN) if file.startswith(_JPEG) else 0
    if scans > MAX_SCANS:
        raise UnreadableImageError(f"has {scans:,} scans, more than {MAX_SCANS}: it would take very long to decode")
    return image


def _unreadable(error: Exception, otherwise: str) -> UnreadableImageError:
    """Say why Pillow does not read a file; it says that there is too much text by the names of its bounds."""
    return UnreadableImageError(
        f"holds over {MAX_TEXT_BYTES:,} bytes of text" if "MAX_TEXT" in str(error) else otherwise
    )


def _too_many_pixels(size: tuple[int, int], max_pixels: int) -> UnreadableImageError:
    return UnreadableImageError(f"has {size[0]:,} x {size[1]:,} pixels, more than {max_pixels:,}")


def _wrong_size(size: tuple[int, int], height: int, width: int) -> UnreadableImageError:
    return UnreadableImageError(f"is {size[0]:,} x {size[1]:,} pixels, not {width:,} x {height:,}")


def _pixels(image: Image.Image, channels: int) -> NDArray[np.uint8]:
    """Convert an image of any mode to uint8 [H, W, channels]."""
    if image.mode == "F":
        raise UnreadableImageError("holds floating-point pixels, whose range is unknown; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        image = _from_16_bit(image)
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, coloured)
    converted = image.convert("L" if channels == 1 else "RGB")
    return np.asarray(converted, np.uint8).reshape(image.height, image.width, channels)


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion would clip."""
    deep = np.asarray(image).astype(np.float64)
    return Image.fromarray(np.rint(np.clip(deep, 0, 65535) / 257).astype(np.uint8))
