"""Decodes one untrusted image: rotated upright, composited on white, cropped and resized.

The content decides which format a file has, whatever its name; only `FORMATS` are tried, and the header is validated
before anything is decoded. Of several frames the first is read. If a size is requested, the
largest centred crop of its aspect ratio is resized with a Lanczos filter, which Pillow widens when downscaling, so that
nothing aliases.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from training.data.splits import ImageFile

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF", "PPM")  # as Pillow names them; the service reads the same
FORMATS_SHOWN = "PNG, JPEG, WebP, BMP, GIF, TIFF or PPM"
ENDINGS = (".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
UNREAD_ENDINGS = (".heic", ".heif", ".avif", ".jxl", ".jp2", ".psd", ".tga", ".exr", ".dng", ".nef", ".cr2", ".arw")
ANIMATED = ("PNG", "WEBP", "GIF", "TIFF")  # formats that may hold several frames or pages
MAX_PIXELS = 1024 * 1024  # of an image that is not resized
MAX_RESIZED_PIXELS = 5000 * 5000  # of an image that is resized
MAX_FILE_BYTES = 64 * 2**20

# Pillow only warns between one and two times its own pixel limit; here that is an error.
warnings.filterwarnings("error", category=Image.DecompressionBombWarning)
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # about EXIF tags that nothing here reads


class DamagedImageError(Exception):
    """Raised when an image cannot be used; the text continues after its name."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """The first frame of an image file, uint8 [H, W, C], and how many frames or pages the file has."""

    pixels: NDArray[np.uint8]
    frames: int


def decoded(
    file: ImageFile, *, size: tuple[int, int] | None, channels: int | None, jpeg_quality: int | None = None
) -> Decoded:
    """Decode an image file.

    Args:
        file: the image file.
        size: (H, W) to crop and resize to, or None.
        channels: 1 or 3, or None to keep the image's.
        jpeg_quality: of a final JPEG compression, or None.

    Raises:
        DamagedImageError: if it has another format, too many pixels, or is damaged.
    """
    with _opened(_bytes(file.data)) as image:
        _check_pixels(image, resized=size is not None)
        try:
            image.load()
            pixels = fitted(_upright(image), size=size, channels=channels, jpeg_quality=jpeg_quality)
        except (MemoryError, DamagedImageError):
            raise
        except Exception as error:  # decoders raise almost anything for damaged files
            raise DamagedImageError(f"cannot be decoded: {error or 'it is damaged'}") from None
        return Decoded(pixels, _frames(image))


def fitted(
    image: Image.Image, *, size: tuple[int, int] | None, channels: int | None, jpeg_quality: int | None = None
) -> NDArray[np.uint8]:
    """Return an image of any mode as uint8 [H, W, C]; see `decoded`."""
    if image.mode == "F":
        raise DamagedImageError("holds floating-point pixels, whose range is unknown; save it with 8 or 16 bits")
    mode = {1: "L", 3: "RGB", None: _nearer_mode(image)}[channels]
    plain = _on_white(_eight_bits(image)).convert(mode)
    if size is not None and plain.size != size[::-1]:
        plain = ImageOps.fit(plain, size[::-1], method=Image.Resampling.LANCZOS)
    if jpeg_quality is not None:
        plain = _compressed(plain, jpeg_quality)
    return np.asarray(plain, np.uint8).reshape(plain.height, plain.width, -1)


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    """Compress an image as JPEG (4:2:0) and decode it."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling="4:2:0")
    compressed = Image.open(file, formats=("JPEG",))
    compressed.load()
    return compressed


def _bytes(data: bytes | Path) -> bytes:
    """Return a file's bytes; refuse files that are too large, pipes and devices."""
    try:
        if isinstance(data, Path) and not data.is_file():
            raise DamagedImageError("is a link that leads nowhere" if data.is_symlink() else "is not a file")
        size = len(data) if isinstance(data, bytes) else data.stat().st_size
        if size > MAX_FILE_BYTES:
            raise DamagedImageError(f"holds {size} bytes; at most {MAX_FILE_BYTES} are read")
        return data if isinstance(data, bytes) else data.read_bytes()
    except OSError as error:
        raise DamagedImageError(f"cannot be read: {error.strerror or error}") from None


def is_image(path: Path) -> bool:
    """Return whether a file is an image that can be read, by its header."""
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return True
    except Exception:  # Pillow raises almost anything for files that are none
        return False


def _opened(data: bytes) -> Image.Image:
    """Read the header."""
    if not data:
        raise DamagedImageError("is empty")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except UnidentifiedImageError:
        raise DamagedImageError(f"is not a {FORMATS_SHOWN} image") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DamagedImageError(f"claims far more pixels than the {MAX_PIXELS} that are read") from None
    except Exception as error:  # as above
        raise DamagedImageError(f"cannot be opened: {error}") from None


def _check_pixels(image: Image.Image, *, resized: bool) -> None:
    """Refuse a header that announces too many pixels."""
    most = MAX_RESIZED_PIXELS if resized else MAX_PIXELS
    if image.width * image.height > most:
        advice = "" if resized else ", or more with a smaller size"
        raise DamagedImageError(f"is {image.width}x{image.height}; at most {most} pixels are read{advice}")


def _frames(image: Image.Image) -> int:
    """Return how many frames or pages a file has; the previews inside of a JPEG file are none."""
    if image.format not in ANIMATED:
        return 1
    try:
        return int(getattr(image, "n_frames", 1))
    except Exception:  # as above: what follows the first frame may be damaged
        return 1


def _upright(image: Image.Image) -> Image.Image:
    """Rotate a photograph by its EXIF orientation."""
    return ImageOps.exif_transpose(image) if "exif" in image.info else image


def _nearer_mode(image: Image.Image) -> str:
    """Return L for grey images and RGB for all others."""
    return "L" if image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I") else "RGB"


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion would clip."""
    if not image.mode.startswith("I"):
        return image
    deep = np.asarray(image).astype(np.float64)
    return Image.fromarray(np.rint(np.clip(deep, 0, 65535) / 257).astype(np.uint8))


def _on_white(image: Image.Image) -> Image.Image:
    """Composite transparent pixels on white."""
    if not image.has_transparency_data:
        return image
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
