"""PNG folder: a shard is a folder `data/train/00000-of-00010/` of `000000123.png`, and of `SHA256SUMS`.

The digest of the shard is that of its `SHA256SUMS`, which has those of the images. Reading it as one file gives a tar,
built on the fly. What is known of each image is in one `metadata.jsonl` above all shards, as Hugging Face datasets'
`imagefolder` reads it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import math
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
from numpy.typing import NDArray

from service.images import png
from service.jobs.formulas import json_facts
from service.jobs.plan import canonical_json
from service.jobs.shards.formats.card import Reading, json_features_of
from service.jobs.shards.formats.layout import DATA, ImageLayout, Tally, decoded, replaced
from service.jobs.shards.formats.tar import END, member
from service.jobs.shards.marker import Marker
from service.jobs.storage.output import AnyTemporary, Output, OutputError, TemporaryFolder

if TYPE_CHECKING:
    from typing_extensions import Buffer

SUMS_FILE = "SHA256SUMS"
METADATA_FILE = f"{DATA}/train/metadata.jsonl"
READ_BYTES = 1 << 20  # of the tar at a time
CODE = """
from datasets import load_dataset

images = load_dataset("path/of/this/folder", split="train")
"""


class StrangeFileError(OutputError):
    """Raised when a shard's folder holds a file that is not one of its images."""


class ChangedFileError(OutputError):
    """Raised when a file of a shard's folder is not what its digest says."""


class FolderLayout(ImageLayout):
    """Shards `data/train/00000-of-00010/`."""

    __slots__ = ()
    encoder = png.ENCODER
    suffix = "tar"

    def name(self, shard: int) -> str:
        """Name of a shard's folder below the job's."""
        return f"{DATA}/{self.stem}/{self.number(shard)}"

    def size(self, output: Output, shard: int) -> int | None:
        """Return the size of a shard's files together, or None if there are not exactly the shard's."""
        sizes = output.sizes(self.name(shard))
        return sum(sizes.values()) if set(sizes) == set(self._names(shard)) else None

    @contextlib.contextmanager
    def open(self, output: Output, shard: int) -> Iterator[BinaryIO]:
        """Open the tar that a shard is read as; it is put together as it is read.

        Raises:
            FileNotFoundError: if any of the images is missing.
            StrangeFileError: if there is anything else.
            ChangedFileError: if one was changed.
        """
        self._check_names(output, shard)
        with _Joined(self._tar(output, shard)) as stream:
            yield io.BufferedReader(stream, READ_BYTES)

    def digest(self, output: Output, shard: int) -> tuple[str, int]:
        """Hash every file of a shard; returns the digest of its `SHA256SUMS` and the size of all.

        Raises:
            FileNotFoundError: if any is missing.
            StrangeFileError: if there is anything else.
            ChangedFileError: if one was changed.
        """
        self._check_names(output, shard)
        size, sums = 0, b""
        for _, data in self._files(output, shard):
            size, sums = size + len(data), data  # `SHA256SUMS` comes last
        return hashlib.sha256(sums).hexdigest(), size

    def as_file(self, output: Output, marker: Marker) -> tuple[str, int]:
        """Return SHA-256 and size of the tar that a shard is read as, after hashing all of it."""
        if self.digest(output, marker.shard) != (marker.digest, marker.bytes):
            raise OutputError(f"{self.name(marker.shard)} was changed: it is not what its marker says")
        tally = Tally()
        for part in self._tar(output, marker.shard):
            tally.count(part)
        return tally.digest, tally.size

    def digests(self, output: Output, shard: int, digest: str) -> Iterator[tuple[str, str]]:
        """Yield the name and digest of every file of a shard, as its `SHA256SUMS` says."""
        name = self.name(shard)
        for line in (output.read(f"{name}/{SUMS_FILE}") or b"").decode().splitlines():
            yield f"{name}/{line[66:]}", line[:64]
        yield f"{name}/{SUMS_FILE}", digest

    @property
    def reading(self) -> Reading:
        """How the format is read."""
        features = json_features_of(self.sampling)
        return Reading(CODE, f"{DATA}/{self.stem}/**", {"image": {"_type": "Image"}, **features}, untyped=True)

    def describe(self, output: Output, shards: Sequence[int]) -> dict[str, str]:
        """Write the card, and what is known of each image."""
        lines = (self._line(shard, index) for shard in shards for index in self.plan.span(shard))
        return super().describe(output, shards) | {METADATA_FILE: replaced(output, METADATA_FILE, lines)}

    def _line(self, shard: int, index: int) -> bytes:
        known = json_facts(self.sampling, index)
        return canonical_json({"file_name": f"{self.number(shard)}/{image_name(index)}", **known})

    def temporary(self, output: Output, label: str) -> AbstractContextManager[AnyTemporary]:
        """Make the folder that a shard is written into."""
        return output.temporary_folder(label)

    def writer(self, temporary: AnyTemporary, shard: int) -> FolderWriter:
        """Write a shard into a temporary folder."""
        assert isinstance(temporary, TemporaryFolder)  # noqa: S101 - it is what `temporary` made
        return FolderWriter(temporary)

    @contextlib.contextmanager
    def images(self, output: Output, shard: int) -> Iterator[FolderReader]:
        """Open a shard for reading its images."""
        if not output.sizes(self.name(shard)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), self.name(shard))
        yield FolderReader(self, output, shard)

    def read_files(self, output: Output, shard: int, names: Iterable[str]) -> Iterator[bytes]:
        """Yield files of a shard in order, many read at once where a single one takes a round trip.

        Raises:
            FileNotFoundError: if one is not there.
            OutputError: if one is far too large.
        """
        if output.files_at_once == 1:
            yield from (self._read(output, shard, name) for name in names)
            return
        pool, waiting = ThreadPoolExecutor(output.files_at_once), deque[Future[bytes]]()
        try:
            for name in names:
                waiting.append(pool.submit(self._read, output, shard, name))
                if len(waiting) > output.files_at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _read(self, output: Output, shard: int, file_name: str) -> bytes:
        name = f"{self.name(shard)}/{file_name}"
        limit = 2 * math.prod(self.shape) + 4096  # bytes; no PNG file of such an image reaches it
        limit = len(self.plan.span(shard)) * LINE + 1 if file_name == SUMS_FILE else limit
        with output.open(name) as file:
            data = file.read(limit)
        if len(data) == limit:
            raise OutputError(f"{name} is too large")
        return data

    def _names(self, shard: int) -> list[str]:
        return [*map(image_name, self.plan.span(shard)), SUMS_FILE]

    def _files(self, output: Output, shard: int) -> Iterator[tuple[str, bytes]]:
        """Yield the name and bytes of every file, `SHA256SUMS` last, each compared with what that says of it."""
        sums, names = self._read(output, shard, SUMS_FILE), self._names(shard)[:-1]
        for number, (name, data) in enumerate(zip(names, self.read_files(output, shard, names), strict=True)):
            if sums[number * LINE : (number + 1) * LINE] != line(name, data):
                raise ChangedFileError(f"{self.name(shard)}/{name} was changed: {SUMS_FILE} beside it says otherwise")
            yield name, data
        yield SUMS_FILE, sums

    def _tar(self, output: Output, shard: int) -> Iterator[bytes]:
        for name, data in self._files(output, shard):
            yield member(name, data)
        yield END

    def _check_names(self, output: Output, shard: int) -> None:
        found, expected = set(output.sizes(self.name(shard))), set(self._names(shard))
        if missing := expected - found:
            name = f"{self.name(shard)}/{min(missing)}" if found else self.name(shard)
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        if strange := found - expected:
            raise StrangeFileError(f"{self.name(shard)} holds {min(strange)}, which is not one of its images")


class FolderWriter:
    """Writes images into a folder, and last the digests of all."""

    def __init__(self, folder: TemporaryFolder) -> None:
        self._folder, self._sums = folder, bytearray()
        self.size = 0

    @property
    def digest(self) -> str:
        """SHA-256 of `SHA256SUMS`, in hexadecimal."""
        return hashlib.sha256(self._sums).hexdigest()

    def add(self, first_index: int, images: NDArray[np.uint8]) -> None:
        """Append images uint8 [N, H, W, C] of consecutive indices."""
        for index, image in enumerate(png.encode(images), start=first_index):
            name = image_name(index)
            self._folder.add(name, image)
            self._sums += line(name, image)
            self.size += len(image)

    def finish(self) -> None:
        """Write the digests."""
        self._folder.add(SUMS_FILE, bytes(self._sums))
        self.size += len(self._sums)


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
        names = [image_name(index) for index in indices]
        files, row = self._layout.read_files(self._output, self._shard, names), 0
        try:
            for row, data in enumerate(files, start=1):
                images[row - 1] = decoded(data, self._layout.shape)
        except FileNotFoundError:
            raise OutputError(f"{self._layout.name(self._shard)}/{names[row]} is missing") from None
        return images


class _Joined(io.RawIOBase):
    """Parts of a file, one after another; it can be read once, from its beginning."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, target: Buffer) -> int:
        if not self._rest:
            self._rest = memoryview(next(self._parts, b""))
        view = memoryview(target)
        size = min(len(view), len(self._rest))
        view[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def image_name(index: int) -> str:
    """Name of an image's file."""
    return f"{index:09d}.png"


def line(name: str, data: bytes) -> bytes:
    """Return the line of `SHA256SUMS` about a file."""
    return f"{hashlib.sha256(data).hexdigest()}  {name}\n".encode()


LINE = len(line(image_name(0), b""))
