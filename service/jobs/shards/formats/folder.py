"""PNG folder: a shard is a folder `images/000000/` of `000000123.png`.

It stands for the tar that holds the same images: its digest and size are those of that tar, and reading it as one file
gives that tar, built on the fly.
"""

from __future__ import annotations

import contextlib
import errno
import io
import math
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from service.images import png
from service.jobs.plan import Plan
from service.jobs.shards.formats.layout import ImageLayout, Tally, decoded
from service.jobs.shards.formats.tar import END, sample, sample_size
from service.jobs.storage.output import AnyTemporary, Output, OutputError, TemporaryFolder

if TYPE_CHECKING:
    from typing_extensions import Buffer

READ_BYTES = 1 << 20  # of the tar at a time


class StrangeFileError(OutputError):
    """Raised when a shard's folder holds a file that is not one of its images."""


class FolderLayout(ImageLayout):
    """Shards `images/000000/`."""

    __slots__ = ()
    encoder = png.ENCODER
    suffix = "tar"

    def name(self, shard: int) -> str:
        """Name of a shard's folder below the job's."""
        return f"images/{shard:06d}"

    def file_name(self, shard: int) -> str:
        """Name of the tar that a shard is read as."""
        return f"{shard:06d}.{self.suffix}"

    def size(self, output: Output, shard: int) -> int | None:
        """Return the size of the tar that a shard is read as, or None if there are not exactly the shard's images."""
        sizes = output.sizes(self.name(shard))
        span = self.plan.span(shard)
        if set(sizes) != {image_name(index) for index in span}:
            return None
        return sum(sample_size(self.plan, index, sizes[image_name(index)]) for index in span) + len(END)

    @contextlib.contextmanager
    def open(self, output: Output, shard: int) -> Iterator[BinaryIO]:
        """Open the tar that a shard is read as; it is put together as it is read.

        Raises:
            FileNotFoundError: if any of the images is missing.
            StrangeFileError: if there is anything else.
        """
        self._check_names(output, shard)
        with _TarOfFolder(self, output, shard) as stream:
            yield io.BufferedReader(stream, READ_BYTES)

    def temporary(self, output: Output, label: str) -> AbstractContextManager[AnyTemporary]:
        """Make the folder that a shard is written into."""
        return output.temporary_folder(label)

    def writer(self, temporary: AnyTemporary, shard: int) -> FolderWriter:
        """Write a shard into a temporary folder."""
        assert isinstance(temporary, TemporaryFolder)  # noqa: S101 - it is what `temporary` made
        return FolderWriter(temporary, self.plan)

    @contextlib.contextmanager
    def images(self, output: Output, shard: int) -> Iterator[FolderReader]:
        """Open a shard for reading its images."""
        if not output.sizes(self.name(shard)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.name(shard))
        yield FolderReader(self, output, shard)

    def image(self, output: Output, shard: int, index: int) -> bytes:
        """Return one PNG file.

        Raises:
            FileNotFoundError: if it is not there.
            OutputError: if it is far too large.
        """
        name = f"{self.name(shard)}/{image_name(index)}"
        limit = 2 * math.prod(self.shape) + 4096  # bytes; no PNG file of such an image reaches it
        with output.open(name) as file:
            data = file.read(limit)
        if len(data) == limit:
            raise OutputError(f"{name} is too large")
        return data

    def _check_names(self, output: Output, shard: int) -> None:
        found, expected = set(output.sizes(self.name(shard))), {image_name(index) for index in self.plan.span(shard)}
        if missing := expected - found:
            name = f"{self.name(shard)}/{min(missing)}" if found else self.name(shard)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        if strange := found - expected:
            raise StrangeFileError(f"{self.name(shard)} holds {min(strange)}, which is not one of its images")


class FolderWriter(Tally):
    """Writes images into a folder; counts the tar of them."""

    def __init__(self, folder: TemporaryFolder, plan: Plan) -> None:
        super().__init__()
        self._folder, self._plan = folder, plan

    def add(self, first_index: int, images: NDArray[np.uint8]) -> None:
        """Append images uint8 [N, H, W, C] of consecutive indices."""
        for index, image in enumerate(png.encode(images), start=first_index):
            self.count(sample(self._plan, index, image))
            self._folder.add(image_name(index), image)

    def finish(self) -> None:
        """End the tar."""
        self.count(END)


class FolderReader:
    """Reads images file by file."""

    def __init__(self, layout: FolderLayout, output: Output, shard: int) -> None:
        self._layout, self._output, self._shard = layout, output, shard

    def read(self, indices: range) -> NDArray[np.uint8]:
        """Return images uint8 [len(indices), H, W, C].

        Raises:
            OutputError: if a file is missing or no such image.
        """
        images = np.empty((len(indices), *self._layout.shape), np.uint8)  # [n, H, W, C]
        for row, index in enumerate(indices):
            try:
                data = self._layout.image(self._output, self._shard, index)
            except FileNotFoundError:
                raise OutputError(f"{self._layout.name(self._shard)}/{image_name(index)} is missing") from None
            images[row] = decoded(data, self._layout.shape)
        return images


class _TarOfFolder(io.RawIOBase):
    """The tar of a shard's images, sample by sample; it can be read once, from its beginning."""

    def __init__(self, layout: FolderLayout, output: Output, shard: int) -> None:
        self._parts = self._samples(layout, output, shard)
        self._rest = memoryview(b"")
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, target: Buffer) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._parts, b""))
        view = memoryview(target)
        size = min(len(view), len(self._rest))
        view[:size], self._rest = self._rest[:size], self._rest[size:]
        self._position += size
        return size

    def tell(self) -> int:
        return self._position

    @staticmethod
    def _samples(layout: FolderLayout, output: Output, shard: int) -> Iterator[bytes]:
        for index in layout.plan.span(shard):
            yield sample(layout.plan, index, layout.image(output, shard, index))
        yield END


def image_name(index: int) -> str:
    """Name of an image's file."""
    return f"{index:09d}.png"
