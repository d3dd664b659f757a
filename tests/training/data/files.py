"""Files for the tests: images, tars, and splits made of them."""

from __future__ import annotations

import io
import struct
import tarfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from training.data.splits import ImageFile, ImageFiles


def pixels(count: int, *, height: int = 4, width: int = 5, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Random images uint8 [N, H, W, C]."""
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), dtype=np.uint8)


def encoded(image: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    """One image [H, W, C] as a file."""
    file = io.BytesIO()
    Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(file, kind, **options)
    return file.getvalue()


def saved(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """One image of any mode as a file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def huge_png(width: int, height: int) -> bytes:
    """A PNG whose header claims a size that its few bytes do not hold."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk))
        for chunk in (header, b"IDAT" + zlib.compress(b"\0" * 9), b"IEND")
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


def tar(path: Path, members: Mapping[str, bytes], *, mode: str = "w", kind: int = tarfile.USTAR_FORMAT) -> Path:
    """A tar of plain files."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode, format=kind) as archive:  # type: ignore[call-overload]
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def image_files(contents: list[bytes], *, labels: Sequence[int | str] | None = None) -> ImageFiles:
    """A split of image files that are in memory."""
    known = labels or [-1] * len(contents)
    files = [ImageFile(f"{n}.png", data, label) for n, (data, label) in enumerate(zip(contents, known, strict=True))]
    return ImageFiles("made", (), lambda _: iter(files), (), len(files))
