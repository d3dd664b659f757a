"""WebDataset: a shard is a USTAR tar of `000000123.png`, `.cls` and `.json` per sample, in order of the indices.

Only the images of a generator that takes a class have a `.cls`: the number of the class in the plan and the card.

It holds no times and no owners, so the same images give the same bytes; the reader accepts nothing else.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from service.images import png
from service.jobs.formulas import json_facts, label
from service.jobs.plan import Plan, canonical_json
from service.jobs.shards.formats.card import Reading, json_features_of, value
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


CODE = """
from datasets import load_dataset  # or webdataset.WebDataset("data/train-{00000..NNNNN}-of-NNNNN.tar").decode("pil")

images = load_dataset("path/of/this/folder", split="train")
"""


class TarLayout(ImageLayout):
    """Shards `data/train-00000-of-00010.tar`."""

    __slots__ = ()
    encoder = png.ENCODER
    suffix = "tar"

    @property
    def reading(self) -> Reading:
        """How the format is read."""
        facts = json_features_of(self.sampling) | {"model_digest": value("string")}
        label = {"cls": facts["label"]} if self._labelled else {}
        features = {"png": {"_type": "Image"}, **label, "json": facts, "__key__": value("string")}
        return Reading(CODE, "data/train-*.tar", features)

    def writer(self, temporary: AnyTemporary, shard: int) -> TarWriter:
        """Write a shard into a temporary file."""
        return TarWriter(opened(temporary), self.plan)

    @contextlib.contextmanager
    def images(self, output: Output, shard: int) -> Iterator[TarReader]:
        """Open a shard for reading its images."""
        with self.open(output, shard) as file:
            suffixes = ("png", "cls", "json") if self._labelled else ("png", "json")
            yield TarReader(file, self.plan.span(shard).start, self.shape, suffixes)

    @property
    def _labelled(self) -> bool:
        return bool(self.sampling.classes)


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
    """Reads a tar that TarWriter wrote, member by member; a header, a name or a size that differs is refused.

    Of members that are passed over the name and the size alone are looked at.
    """

    def __init__(
        self, file: BinaryIO, first_index: int, shape: tuple[int, int, int], suffixes: tuple[str, ...]
    ) -> None:
        self._file = file
        self._next = first_index
        self._shape = shape
        self._suffixes = suffixes

    def read(self, indices: range) -> NDArray[np.uint8]:
        """Return images uint8 [len(indices), H, W, C]; those before them are passed over, not decoded."""
        if indices.start < self._next:
            raise ValueError("the images of a shard are read forwards only")
        for index in range(self._next, indices.start):
            for suffix in self._suffixes:
                _pass_over(self._file, f"{index:09d}.{suffix}")
        self._next = indices.start
        images = np.empty((len(indices), *self._shape), np.uint8)  # [n, H, W, C]
        for row in range(len(indices)):
            images[row] = decoded(self._sample(), self._shape)
        return images

    def _sample(self) -> bytes:
        """Return the next PNG file."""
        image, *_ = [_read_member(self._file, f"{self._next:09d}.{suffix}") for suffix in self._suffixes]
        self._next += 1
        return image


def sample(plan: Plan, index: int, image: bytes) -> bytes:
    """Return one sample as stored in a tar: its PNG file, its class if it has one, then its facts."""
    assert plan.sampling is not None  # noqa: S101 - only sample jobs have samples
    name, shown = f"{index:09d}", label(plan.sampling, index)
    cls = b"" if shown is None else member(f"{name}.cls", b"%d" % shown)
    return member(f"{name}.png", image) + cls + member(f"{name}.json", _facts(plan, index, shown))


def _facts(plan: Plan, index: int, shown: int | None) -> bytes:
    """What a sample's `.json` says: what `json_facts` does, and of which model."""
    sampling = plan.sampling
    assert sampling is not None  # noqa: S101 - as above
    if not sampling.latents:
        before, after = _around_index(plan.model_digest, sampling.seed, shown)
        return b"%b%d%b" % (before, index, after)
    return canonical_json({**json_facts(sampling, index), "model_digest": plan.model_digest})


@functools.lru_cache(maxsize=4096)
def _around_index(model_digest: str, seed: int, shown: int | None) -> tuple[bytes, bytes]:
    """What stands before and after a sample's index in its facts."""
    cls = {} if shown is None else {"label": shown}
    made_of = seed if seed < 1 << 63 else str(seed)  # as `json_facts` has it
    known = canonical_json({"index": 0, **cls, "model_digest": model_digest, "seed": made_of})
    before, colon, rest = known.partition(b":0,")
    return before + colon[:1], colon[2:] + rest


def member(name: str, data: bytes) -> bytes:
    """Return a plain file as stored in a tar: header, bytes, zeros up to a whole block."""
    return _header(name, len(data)) + data + bytes(-len(data) % BLOCK)


def _header(name: str, size: int) -> bytes:
    """USTAR header of a plain file without owner and time."""
    called, length = name.encode(), b"%011o\0" % size
    checksum = _REST_SUM + sum(called) + sum(length)  # of all bytes, its own as spaces
    return b"".join((called, _ZEROS[len(called) : 100], _MODE, length, _TIME, b"%06o\0 " % checksum, _KIND))


def _read_member(file: BinaryIO, name: str) -> bytes:
    header = file.read(BLOCK)
    size = _size(header, name)
    if header != _header(name, size):
        raise _not_there(name)
    data = file.read(size + -size % BLOCK)
    return data[:size]


def _pass_over(file: BinaryIO, name: str) -> None:
    """Leave a member unread; of its header only the name and the size count."""
    header = file.read(BLOCK)
    if not header.startswith(name.encode()):
        raise _not_there(name)
    size = _size(header, name)
    file.seek(size + -size % BLOCK, os.SEEK_CUR)


def _size(header: bytes, name: str) -> int:
    """Return the size that a header gives."""
    try:
        size = int(header[124:135], 8)
    except ValueError:
        size = -1
    if not 0 <= size <= MAX_SAMPLE_BYTES:
        raise _not_there(name)
    return size


def _not_there(name: str) -> OutputError:
    return OutputError(f"the tar does not hold {name} where it must")
