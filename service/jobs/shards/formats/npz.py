"""npz, as the evaluation suite of ADM (guided diffusion) reads it: shards `shards/000000.npz`, joined at the end.

Each is one array `arr_0` uint8 [n, H, W, C]; the joined file is `samples_{N}x{H}x{W}x{C}.npz`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from service.jobs.shards.formats.layout import ImageLayout, Tally, opened
from service.jobs.shards.formats.npy import NpzWriter, Shape, array_size, file_size, prefix
from service.jobs.storage.output import AnyTemporary, Output, OutputError

BLOCK = 1 << 20  # bytes in memory at a time when shards are joined


class NpzLayout(ImageLayout):
    """Shards `shards/000000.npz`."""

    __slots__ = ()
    encoder = "npz 1"
    suffix = "npz"
    summary = re.compile(r"samples_[0-9]+x[0-9]+x[0-9]+x[0-9]+\.npz")

    def writer(self, temporary: AnyTemporary, shard: int) -> ImagesWriter:
        """Write a shard into a temporary file."""
        return ImagesWriter(opened(temporary), self.array_shape(shard))

    @contextlib.contextmanager
    def images(self, output: Output, shard: int) -> Iterator[NpzReader]:
        """Open a shard for reading its images."""
        with self.open(output, shard) as file:
            size = output.size(self.name(shard))
            yield NpzReader(file, size, self.plan.span(shard).start, self.array_shape(shard))

    def sum_up(self, output: Output, digests: Mapping[int, str]) -> dict[str, str]:
        """Join the shards in order, block by block."""
        shape = (sum(len(self.plan.span(shard)) for shard in digests), *self.shape)
        name = f"samples_{'x'.join(map(str, shape))}.npz"
        with output.temporary(name) as temporary:
            writer = NpzWriter(temporary.file, shape)
            for shard, digest in digests.items():
                for block in self._array(output, shard, digest):
                    writer.data(block)
            writer.end()
            output.replace(temporary, name)
        return {name: writer.digest}

    def array_shape(self, shard: int) -> Shape:
        """Shape of a shard's array."""
        return len(self.plan.span(shard)), *self.shape

    def _array(self, output: Output, shard: int, digest: str) -> Iterator[bytes]:
        """Return the bytes of a shard's array; after the last, the whole file must have been what its marker says."""
        tally, left = Tally(), array_size(self.array_shape(shard))
        with self.open(output, shard) as file:
            tally.count(file.read(len(prefix(self.array_shape(shard)))))
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

    def add(self, first_index: int, images: NDArray[np.uint8]) -> None:
        """Append images uint8 [N, H, W, C] of consecutive indices."""
        self.data(images.tobytes())

    def finish(self) -> None:
        """End the file."""
        self.end()


class NpzReader:
    """Reads images out of a file that must begin and be as long as `NpzWriter` makes it."""

    def __init__(self, file: BinaryIO, size: int | None, first_index: int, shape: Shape) -> None:
        self._file, self._first, self._shape = file, first_index, shape
        begin = prefix(shape)
        if size != file_size(shape) or file.read(len(begin)) != begin:
            raise OutputError(f"an .npz does not hold an array uint8 {list(shape)}")
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
