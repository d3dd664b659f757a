"""Writers of PNG files, in one run: python benchmarks/png_files.py, after pip install imagecodecs isal zlib-ng.

The images are those of the shipped generators: digits of 28 x 28 in grey, faces of 64 x 64 in colour, and sheets of 16
faces, 256 x 256. Every file is decoded and compared with its image first. Then writers take turns in random order, so
that a busy minute hits all, and their CPU time counts. Ours is also run in two threads, by the clock. Machines differ:
read the ratios. Takes about a minute.
"""

from __future__ import annotations

import argparse
import importlib
import io
import random
import statistics
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

if __name__ == "__main__":  # this file's folder, where training.py would shadow the package of its name
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

import deflate
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from handlers import archive
from handlers.compute import model
from handlers.operations import direct
from handlers.protocol.requests import Failure, Generate
from service.images import png

Images = NDArray[np.uint8]  # [N, H, W, C]
Writer = Callable[[Images], list[bytes]]

MODELS = Path(__file__).resolve().parent.parent / "models"
COUNT = 256  # images of each generator


def main() -> None:
    """Measure every writer on every kind of image and print one table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="runs of each writer, taking turns (default 9)")
    rounds = parser.parse_args().rounds
    digits, faces = _made("digits-generator"), _made("faces-dcgan")
    sheets = faces.reshape(-1, 4, 4, 64, 64, 3).transpose(0, 1, 3, 2, 4, 5).reshape(-1, 256, 256, 3)
    kinds = [digits, faces[:64], np.ascontiguousarray(sheets[:8])]
    writers = _writers()
    measured = [_measure(writers, images, rounds) for images in kinds]
    print("| writer | 28x28 grey | 64x64 RGB | 256x256 RGB |\n| --- | --- | --- | --- |")
    for name in writers:
        print(f"| {name} | {' | '.join(f'{1 / each[name][0]:,.0f}, {each[name][1]:,.0f}' for each in measured)} |")
    for images, each in zip(kinds, measured, strict=True):
        alone, both = _in_threads(images, 1), _in_threads(images, 2)
        print(f"{images.shape[1:]}: two threads write {alone / both:.2f} times as fast as one", end="; ")
        print(f"ours is {each['zlib 6, as before'][0] / each['ours'][0]:.1f} times as fast as zlib at level 6")


def _made(name: str) -> Images:
    """Images of a shipped generator."""
    with tempfile.TemporaryDirectory() as folder:
        packed = archive.pack(MODELS / name, "generator", Path(folder) / "model.mar")
        zipfile.ZipFile(packed.path).extractall(Path(folder) / "model")
        loaded = model.load(Path(folder) / "model", "generator", torch.device("cpu"))
        parts = direct.generate(loaded, [Generate(7, first, 64) for first in range(0, COUNT, 64)])
    return np.concatenate([part for part in parts if not isinstance(part, Failure)])


def _writers() -> dict[str, Writer]:
    isal, zlib_ng = importlib.import_module("isal.isal_zlib"), importlib.import_module("zlib_ng.zlib_ng")
    imagecodecs = importlib.import_module("imagecodecs")
    fast = {"level": 1, "strategy": imagecodecs.PNG.STRATEGY.RLE, "filter": imagecodecs.PNG.FILTER.UP}
    writers: dict[str, Writer] = {
        "ours": lambda images: list(png.encode(images)),
        "zlib 6, as before": _with(lambda rows: zlib.compress(rows, 6)),
        "zlib 1": _with(lambda rows: zlib.compress(rows, 1)),
        "zlib, Huffman only": _with(lambda rows: _huffman_only(zlib, rows)),
        "zlib-ng, Huffman only": _with(lambda rows: _huffman_only(zlib_ng, rows)),
        "Pillow 6": lambda images: [_pillow(image, 6) for image in images],
        "Pillow 1": lambda images: [_pillow(image, 1) for image in images],
        "libpng 1, RLE (imagecodecs)": lambda images: [imagecodecs.png_encode(_flat(i), **fast) for i in images],
    }
    for level in (1, 2, 3, 6):
        writers[f"zlib-ng {level}"] = _with(lambda rows, level=level: zlib_ng.compress(rows, level))
        writers[f"libdeflate {level}"] = _with(lambda rows, level=level: deflate.zlib_compress(rows, level))
    for level in (1, 3):
        writers[f"ISA-L {level}"] = _with(lambda rows, level=level: isal.compress(rows, level))
    return writers


def _with(compress: Callable[..., bytes | bytearray]) -> Writer:
    """Write files as ours are, with another compressor."""
    return lambda images: list(png.encode(images, compress))


def _huffman_only(library: Any, rows: Any) -> bytes:
    stream = library.compressobj(1, library.DEFLATED, 15, 8, library.Z_HUFFMAN_ONLY)
    data: bytes = stream.compress(rows) + stream.flush()
    return data


def _pillow(image: Images, level: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(_flat(image)).save(file, "PNG", compress_level=level)
    return file.getvalue()


def _flat(image: Images) -> Images:
    return image[:, :, 0] if image.shape[2] == 1 else image


def _measure(writers: dict[str, Writer], images: Images, rounds: int) -> dict[str, tuple[float, float]]:
    """Return the median CPU seconds and the mean bytes of a file, by writer."""
    sizes, seconds = {}, {name: list[float]() for name in writers}
    for name, write in writers.items():
        files = write(images)
        sizes[name] = sum(map(len, files)) / len(files)
        for image, file in zip(images, files, strict=True):
            if not (np.asarray(Image.open(io.BytesIO(file))).reshape(image.shape) == image).all():
                raise SystemExit(f"{name} lost something")
    for _ in range(rounds):
        for name in random.sample(list(writers), len(writers)):
            start = time.process_time()
            writers[name](images)
            seconds[name].append((time.process_time() - start) / len(images))
    return {name: (statistics.median(seconds[name]), sizes[name]) for name in writers}


def _in_threads(images: Images, threads: int) -> float:
    """Return the least seconds in which `threads` threads write the images 16 times."""
    with ThreadPoolExecutor(threads) as pool:
        best = float("inf")
        for _ in range(5):
            start = time.perf_counter()
            list(pool.map(lambda _: list(png.encode(images)), range(16)))
            best = min(best, time.perf_counter() - start)
    return best


if __name__ == "__main__":
    main()
