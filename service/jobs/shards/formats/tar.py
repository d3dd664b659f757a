"""WebDataset: a shard is a USTAR tar of `000000123.png` and `000000123.json` per sample, in order of the indices.

It holds no times and no owners, so the same images give the same bytes; the reader accepts nothing else.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from service.images import png
from service.jobs.formulas import formula
from service.jobs.plan import Plan, canonical_json
from service.jobs.shards.formats.layout import ImageLayout, ShardWriter, decoded, opened
from service.jobs.storage.output import AnyTemporary, Output, OutputError

BLOCK = 512  # bytes, of the tar format
END = bytes(2 * BLOCK)
MAX_SAMPLE_BYTES = 1 << 28  # of a member that a reader takes into memory

# The parts of a USTAR header that are the same for all files here: it is made twice per image.
_ZEROS = bytes(BLOCK)
_MODE = b"0000644\0" + 2 * b"0000000\0"  # and two owners
_TIME = b"00000000000\0"
_KIND = b"0" + bytes(100) + b"ustar\00000" + bytes(64 + 8 + 8 + 167)
_REST_SUM = sum(_MODE + _TIME + b" " * 8 + _KIND)


class TarLayout(ImageLayout):
    """Shards `shards/000000.tar`."""

    __slots__ = ()
    encoder = png.ENCODER
    suffix = "tar"

    def writer(self, temporary: AnyTemporary, shard: int) -> TarWriter:
        """Write a shard into a temporary file."""
        return TarWriter(opened(temporary), self.plan)

    @contextlib.contextmanager
    def images(self, output: Output, shard: int) -> Iterator[TarReader]:
        """Open a shard for reading its images."""
        with self.open(output, shard) as file:
            yield TarReader(file, self.plan.span(shard).start, self.shape)


class TarWriter(ShardWriter):
    """Writes a tar."""

    def __init__(self, file: BinaryIO, plan: Plan) -> None:
        super().__init__(file)
        self._plan = plan

    def add(self, first_index: int, images: NDArray[np.uint8]) -> None:
        """Append images uint8 [N, H, W, C] of consecutive indices."""
        files = enumerate(png.encode(images), start=first_index)
        self.write(b"".join(sample(self._plan, index, file) for index, file in files))

    def finish(self) -> None:
        """End the tar."""
        self.write(END)


class TarReader:
    """Reads a tar that TarWriter wrote, member by member; a header, a name or a size that differs is refused."""

    def __init__(self, file: BinaryIO, first_index: int, shape: tuple[int, int, int]) -> None:
        self._file = file
        self._next = first_index
        self._shape = shape

    def read(self, indices: range) -> NDArray[np.uint8]:
        """Return images uint8 [len(indices), H, W, C]; those before them are passed over, not decoded."""
        if indices.start < self._next:
            raise ValueError("the images of a shard are read forwards only")
        while self._next < indices.start:
            self._sample()
        images = np.empty((len(indices), *self._shape), np.uint8)  # [n, H, W, C]
        for row in range(len(indices)):
            images[row] = decoded(self._sample(), self._shape)
        return images

    def _sample(self) -> bytes:
        """Return the next PNG file."""
        data = _read_member(self._file, f"{self._next:09d}.png")
        _read_member(self._file, f"{self._next:09d}.json")
        self._next += 1
        return data


def sample(plan: Plan, index: int, image: bytes) -> bytes:
    """Return one sample as stored in a tar: its PNG file, then its facts."""
    facts = _facts(plan, index)
    return _member(f"{index:09d}.png", image) + _member(f"{index:09d}.json", facts)


def sample_size(plan: Plan, index: int, image_size: int) -> int:
    """Return the bytes that one sample takes in a tar, from the size of its PNG file."""
    return sum(BLOCK + size + -size % BLOCK for size in (image_size, len(_facts(plan, index))))


def _facts(plan: Plan, index: int) -> bytes:
    """What a sample's `.json` says."""
    sampling = plan.sampling
    assert sampling is not None  # noqa: S101 - only sample jobs have samples
    if not sampling.latents:
        before, after = _around_index(plan.model_digest, sampling.seed)
        return b"%b%d%b" % (before, index, after)
    class_index = {} if sampling.class_index is None else {"class_index": sampling.class_index}
    facts = {"index": index, "latent": formula(sampling, index), "model_digest": plan.model_digest}
    return canonical_json(facts | class_index)


@functools.lru_cache(maxsize=64)
def _around_index(model_digest: str, seed: int) -> tuple[bytes, bytes]:
    """What stands before and after a sample's index in its facts."""
    before, colon, rest = canonical_json({"index": 0, "model_digest": model_digest, "seed": seed}).partition(b":0,")
    return before + colon[:1], colon[2:] + rest


def _member(name: str, data: bytes) -> bytes:
    """Return a plain file as stored in a tar: header, bytes, zeros up to a whole block."""
    return _header(name, len(data)) + data + bytes(-len(data) % BLOCK)


def _header(name: str, size: int) -> bytes:
    """USTAR header of a plain file without owner and time."""
    called, length = name.encode(), b"%011o\0" % size
    checksum = _REST_SUM + sum(called) + sum(length)  # of all bytes, its own as spaces
    return b"".join((called, _ZEROS[len(called) : 100], _MODE, length, _TIME, b"%06o\0 " % checksum, _KIND))


def _read_member(file: BinaryIO, name: str) -> bytes:
    header = file.read(BLOCK)
    try:
        size = int(header[124:135], 8)
    except ValueError:
        size = -1
    if not 0 <= size <= MAX_SAMPLE_BYTES or header != _header(name, size):
        raise OutputError(f"the tar does not hold {name} where it must")
    data = file.read(size + -size % BLOCK)
    return data[:size]
