"""A folder of images, with one folder a class: `data/cat/1.png`, `data/dog/2.jpg`."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from training.errors import DataError

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".bmp": "BMP", ".webp": "WEBP"}
CHANNELS = {"L": 1, "RGB": 3}  # other modes are converted to the nearer of the two
MAX_PIXELS = 1024 * 1024  # of one image, height times width
MAX_BYTES = 8 * 2**30  # of all images together, uncompressed


def read_folder(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[str, ...]]:
    """Read every image of a folder of class folders.

    Classes are numbered in the order of their names, images ordered by name inside a class. Files that begin with a dot
    or have another ending than those in `FORMATS` are left alone.

    Returns:
        Images [N, H, W, C] with C = 1 if all are grey and 3 otherwise, labels [N], and the names of the classes.

    Raises:
        DataError: if there is no class folder, a class is empty, a file is no image, or the sizes differ.
    """
    classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if not classes:
        raise DataError(f"{folder} has neither IDX files nor a folder a class")
    paths = [(path, label) for label, name in enumerate(classes) for path in _images_of(folder / name)]
    sizes, modes = zip(*(_header(path) for path, _ in paths), strict=True)
    _must_agree(sizes, paths)
    mode = "L" if set(modes) == {"L"} else "RGB"
    width, height = sizes[0]
    if len(paths) * width * height * CHANNELS[mode] > MAX_BYTES:
        raise DataError(f"{folder} holds {len(paths)} images of {width}x{height}, more than {MAX_BYTES} bytes in all")
    images = np.stack([_pixels(path, mode) for path, _ in paths]).reshape(-1, height, width, CHANNELS[mode])
    return images, np.array([label for _, label in paths], np.int64), classes


def _images_of(folder: Path) -> list[Path]:
    """Return the image files of one class in the order of their names."""
    found = sorted(p for p in folder.iterdir() if _is_image(p))
    if not found:
        raise DataError(f"{folder} holds no image; expected files that end in {', '.join(FORMATS)}")
    return found


def _is_image(path: Path) -> bool:
    """Say whether a path is a file with the ending of an image; a pipe or a folder of that name is not opened."""
    return path.suffix.lower() in FORMATS and not path.name.startswith(".") and path.is_file()


def _header(path: Path) -> tuple[tuple[int, int], str]:
    """Return an image's (width, height) and whether it is L or RGB, read from its header alone."""
    with _opened(path) as image:
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise DataError(f"{path} is {width}x{height}; at most {MAX_PIXELS} pixels are read")
        return (width, height), "L" if image.mode in ("1", "L") else "RGB"


def _pixels(path: Path, mode: str) -> NDArray[np.uint8]:
    """Decode one image."""
    with _opened(path) as image:
        try:
            return np.asarray(image.convert(mode), dtype=np.uint8)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(f"{path} cannot be decoded: {error}") from None


def _opened(path: Path) -> Image.Image:
    """Open an image in the format that its name says, and in no other."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            return Image.open(path, formats=[FORMATS[path.suffix.lower()]])
    except UnidentifiedImageError:
        raise DataError(f"{path} is not a {FORMATS[path.suffix.lower()]} image, as its name says") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise DataError(f"{path} claims far more pixels than the {MAX_PIXELS} that are read") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(f"{path} cannot be opened: {error}") from None


def _must_agree(sizes: tuple[tuple[int, int], ...], paths: list[tuple[Path, int]]) -> None:
    """Raise DataError naming the first image whose size is not that of the first one."""
    for (width, height), (path, _) in zip(sizes, paths, strict=True):
        if (width, height) != sizes[0]:
            expected = f"{sizes[0][0]}x{sizes[0][1]} like {paths[0][0]}"
            raise DataError(f"{path} is {width}x{height}, not {expected}; resize the images to one size")
