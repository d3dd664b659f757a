"""npz, as the evaluation suite of ADM (guided diffusion) reads it, joined at the end into one file.

A shard is `data/train-00000-of-00010.npz` with `arr_0` uint8 [n, H, W, C], `arr_1` int64 [n], the classes, if the
generator takes any, and `index` int64 [n]; the joined file is `samples_{N}x{H}x{W}x{C}.npz`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from service.jobs.formulas import label
from service.jobs.plan import Plan
from service.jobs.shards.formats.card import Reading
from service.jobs.shards.formats.layout import ImageLayout, Tally, opened
from service.jobs.shards.formats.npy import Array, NpzWriter, file_size
from service.jobs.steps import Steps
from service.jobs.storage.output import AnyTemporary, Output, OutputError

BLOCK = 1 << 20  # bytes in memory at a time when shards are joined
ROWS = 1 << 16  # numbers of images in memory at a time


CODE = """
import numpy

with numpy.load("data/train-00000-of-NNNNN.npz") as shard:  # or samples_{N}x{H}x{W}x{C}.npz, which has all
    images, index = shard["arr_0"], shard["index"]
"""
WORDS = (
    " `arr_0` are the images, uint8 [N, H, W, C]; a generator's classes are in `arr_1`. Hugging Face datasets has no "
    "reader of npz: use Parquet or WebDataset for it."
)


class NpzLayout(ImageLayout):
    """Shards `data/train-00000-of-00010.npz`."""

    __slots__ = ()
    encoder = "npz 2"
    suffix = "npz"
    summary = re.compile(r"samples_[0-9]+x[0-9]+x[0-9]+x[0-9]+\.npz")

    @property
    def reading(self) -> Reading:
        """How the format is read; Hugging Face datasets has no reader of npz."""
        return Reading(CODE, words=WORDS)

    def writer(self, temporary: AnyTemporary, shard: int) -> ImagesWriter:
        """Write a shard into a temporary file."""
        return ImagesWriter(opened(temporary), self.plan, shard, self.arrays([shard]))

    @contextlib.contextmanager
    def images(self, output: Output, shard: int) -> Iterator[NpzReader]:
        """Open a shard for reading its images."""
        with self.open(output, shard) as file:
            size = output.size(self.name(shard))
            yield NpzReader(file, size, self.plan.span(shard).start, self.arrays([shard]))

    def sum_up(self, output: Output, digests: Mapping[int, str], steps: Steps) -> dict[str, str]:
        """Join the shards in order, block by block."""
        arrays = self.arrays(digests)
        name = f"samples_{'x'.join(map(str, arrays[0].shape))}.npz"
        report = steps.begin("joining shards", len(digests))
        with output.temporary(name) as temporary:
            writer = NpzWriter(temporary.file, arrays)
            for shard, digest in digests.items():
                for block in self._images(output, shard, digest):
                    writer.data(block)
                report(1)
            _write_numbers(writer, self.plan, digests)
            output.replace(temporary, name)
        return {name: writer.digest}

    def arrays(self, shards: Iterable[int]) -> list[Array]:
        """Return the arrays of a file with all images of some shards."""
        count = sum(len(self.plan.span(shard)) for shard in shards)
        numbers = ["arr_1", "index"] if self.sampling.classes else ["index"]
        return [Array("arr_0", "|u1", (count, *self.shape)), *(Array(name, "<i8", (count,)) for name in numbers)]

    def _images(self, output: Output, shard: int, digest: str) -> Iterator[bytes]:
        """Return the bytes of a shard's images; after the last, the whole file must have been what its marker says."""
        images = self.arrays([shard])[0]
        tally, left = Tally(), images.size
        with self.open(output, shard) as file:
            tally.count(file.read(len(images.prefix)))
            while left and (block := file.read(min(left, BLOCK))):
                tally.count(block)
                left -= len(block)
                yield block
            while block := file.read(BLOCK):
                tally.count(block)
        if tally.digest != digest:
            raise OutputError(f"{self.name(shard)} was changed: it is not what its marker says")


class ImagesWriter(NpzWriter):
    """Writes a shard."""

    def __init__(self, file: BinaryIO, plan: Plan, shard: int, arrays: list[Array]) -> None:
        super().__init__(file, arrays)
        self._plan, self._shard = plan, shard

    def add(self, first_index: int, images: NDArray[np.uint8]) -> None:
        """Append images uint8 [N, H, W, C] of consecutive indices."""
        self.data(images.tobytes())

    def finish(self) -> None:
        """Write the classes and the indices, and end the file."""
        _write_numbers(self, self._plan, [self._shard])


class NpzReader:
    """Reads images out of a file that must begin and be as long as `NpzWriter` makes it."""

    def __init__(self, file: BinaryIO, size: int | None, first_index: int, arrays: list[Array]) -> None:
        self._file, self._first, self._shape = file, first_index, arrays[0].shape
        begin = arrays[0].prefix
        if size != file_size(arrays) or file.read(len(begin)) != begin:
            raise OutputError(f"an .npz does not hold an array uint8 {list(self._shape)}")
        self._start = len(begin)

    def read(self, indices: range) -> NDArray[np.uint8]:
        """Return images uint8 [len(indices), H, W, C]."""
        count, *image = self._shape
        if not 0 <= indices.start - self._first <= indices.stop - self._first <= count:
            raise OutputError(f"an .npz does not hold the images {indices.start} to {indices.stop - 1}")
        image_bytes = int(np.prod(image))
        self._file.seek(self._start + (indices.start - self._first) * image_bytes)
        images = np.empty((len(indices), *image), np.uint8)  # [n, H, W, C]
        data = self._file.read(images.nbytes)
        if len(data) != images.nbytes:
            raise OutputError("an .npz is shorter than it was")
        images.reshape(-1)[:] = np.frombuffer(data, np.uint8)
        return images


def _write_numbers(writer: NpzWriter, plan: Plan, shards: Iterable[int]) -> None:
    """Write what comes after the images of some shards: their classes, if they have any, and their indices."""
    assert plan.sampling is not None  # noqa: S101 - only sample jobs have images
    parts = [span[at : at + ROWS] for span in map(plan.span, shards) for at in range(0, len(span), ROWS)]
    if plan.sampling.classes:
        for part in parts:
            writer.data(np.array([label(plan.sampling, index) for index in part], "<i8").tobytes())
    for part in parts:
        writer.data(np.array(part, "<i8").tobytes())
    writer.end()
