"""The interface of a format: names, a writer, the bytes that the digest covers, and a reader of images."""

from __future__ import annotations

import hashlib
import io
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.jobs.plan import Plan, Sampling
from service.jobs.shards.formats.card import CARD_FILE, Reading, card
from service.jobs.shards.marker import Marker
from service.jobs.steps import Steps
from service.jobs.storage.output import AnyTemporary, Output, OutputError, Temporary

DATA = "data"  # the folder of every format's shards


class Tally:
    """Hashes and counts bytes as they come."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    def count(self, data: bytes) -> None:
        """Take the next bytes into account."""
        self._hash.update(data)
        self.size += len(data)

    @property
    def digest(self) -> str:
        """SHA-256 of all bytes so far, in hexadecimal."""
        return self._hash.hexdigest()


class ShardWriter(Tally):
    """Writes a shard's file, hashing and counting. Memory does not grow with the shard."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file

    def write(self, data: bytes) -> None:
        """Append bytes."""
        self.count(data)
        self._file.write(data)


class ImageWriter(Protocol):
    """Writes the shard of a sample job."""

    @property
    def digest(self) -> str:
        """SHA-256 of the shard in hexadecimal; after `finish`."""

    @property
    def size(self) -> int:
        """Bytes of the shard; after `finish`."""

    def add(self, first_index: int, images: NDArray[np.uint8]) -> None:
        """Append images uint8 [N, H, W, C] of consecutive indices."""

    def finish(self) -> None:
        """End the shard."""


class ImageReader(Protocol):
    """Reads the images of one shard. Nothing in it is trusted before it was compared with the plan."""

    def read(self, indices: range) -> NDArray[np.uint8]:
        """Return images uint8 [len(indices), H, W, C]; calls must ask for rising indices.

        Raises:
            OutputError: if anything is not exactly as the format's writer writes it.
        """


@dataclass(frozen=True, slots=True)
class Layout(ABC):
    """How the shards of one plan are stored in its folder. All methods block.

    Reading raises FileNotFoundError if the shard does not exist, OutputError if it is not as its writer writes it.
    """

    plan: Plan
    encoder: ClassVar[str]  # what decides the bytes besides the pixels: libraries, their versions and settings
    suffix: ClassVar[str]
    stem: ClassVar[str] = "train"  # the split that Hugging Face datasets takes files of this name for

    def name(self, shard: int) -> str:
        """Name of a shard's file or folder below the job's folder."""
        return f"{DATA}/{self.stem}-{self.number(shard)}.{self.suffix}"

    def number(self, shard: int) -> str:
        """Return which shard it is of how many, such as `00000-of-00010`: sorted by name they are in order."""
        width = max(5, len(str(self.plan.shards)))
        return f"{shard:0{width}d}-of-{self.plan.shards:0{width}d}"

    def file_name(self, shard: int) -> str:
        """Name that a shard has as one file, such as `train-00000-of-00010.tar`."""
        return f"{self.stem}-{self.number(shard)}.{self.suffix}"

    def size(self, output: Output, shard: int) -> int | None:
        """Return the size of a shard in bytes, or None if it is not there."""
        return output.size(self.name(shard))

    def open(self, output: Output, shard: int) -> AbstractContextManager[BinaryIO]:
        """Open a shard as one file, for reading from beginning to end."""
        return output.open(self.name(shard))

    def as_file(self, output: Output, marker: Marker) -> tuple[str, int]:
        """Return SHA-256 and size of what `open` reads of a finished shard.

        Raises:
            OutputError: if the shard is not what its marker says, as far as that can be told without reading a file.
        """
        if self.size(output, marker.shard) != marker.bytes:
            raise OutputError(f"{self.name(marker.shard)} is missing or was changed: it is not what its marker says")
        return marker.digest, marker.bytes

    def digests(self, output: Output, shard: int, digest: str) -> Iterator[tuple[str, str]]:
        """Yield the name below the job's folder and the SHA-256 of every file of a shard that has this digest."""
        yield self.name(shard), digest

    def digest(self, output: Output, shard: int) -> tuple[str, int]:
        """Hash a shard: returns its SHA-256 in hexadecimal and its size in bytes. Memory stays small."""
        with self.open(output, shard) as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()  # type: ignore[arg-type]

    def temporary(self, output: Output, label: str) -> AbstractContextManager[AnyTemporary]:
        """Open the temporary that a shard is written into."""
        return output.temporary(label)


@dataclass(frozen=True, slots=True)
class ImageLayout(Layout):
    """How the shards of a sample job are stored in its folder."""

    summary: ClassVar[re.Pattern[str] | None] = None  # names of what `sum_up` writes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of every image."""
        return self.plan.height, self.plan.width, self.plan.channels

    @property
    def sampling(self) -> Sampling:
        """What makes the images."""
        assert self.plan.sampling is not None  # noqa: S101 - only sample jobs have such a layout
        return self.plan.sampling

    @property
    @abstractmethod
    def reading(self) -> Reading:
        """How the format is read."""

    @abstractmethod
    def writer(self, temporary: AnyTemporary, shard: int) -> ImageWriter:
        """Write a shard into a temporary of this layout."""

    @abstractmethod
    def images(self, output: Output, shard: int) -> AbstractContextManager[ImageReader]:
        """Open a shard for reading its images."""

    def describe(self, output: Output, shards: Sequence[int]) -> dict[str, str]:
        """Write what says what the images of some shards are, such as the card; returns the digests by name."""
        count = sum(len(self.plan.span(shard)) for shard in shards)
        size_bytes = sum(self.size(output, shard) or 0 for shard in shards)
        return {CARD_FILE: replaced(output, CARD_FILE, [card(self.plan, self.reading, count, size_bytes)])}

    def sum_up(self, output: Output, digests: Mapping[int, str], steps: Steps) -> dict[str, str]:
        """Write this format's files of the whole job, such as its shards joined; repeating it writes the same bytes.

        Args:
            output: the job's folder.
            digests: the finished shards in order, with the digests in their markers.
            steps: told how far it is.

        Returns: the digests of what was written, by name.

        Raises:
            OutputError: if a shard that had to be read is not what its marker says.
        """
        return {}


def replaced(output: Output, name: str, parts: Iterable[bytes]) -> str:
    """Write a file that may be there from an earlier round, part by part; returns its SHA-256 in hexadecimal."""
    tally = Tally()
    with output.temporary(f"{name.rpartition('/')[2]}.") as temporary:
        for part in parts:
            tally.count(part)
            temporary.file.write(part)
        output.replace(temporary, name)
    return tally.digest


def decoded(data: bytes, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Decode one PNG whose size and mode are known beforehand.

    Raises:
        OutputError: if it has another size or mode, or is damaged.
    """
    height, width, channels = shape
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            if image.size != (width, height) or image.mode != {1: "L", 3: "RGB"}[channels]:
                raise OutputError(f"an image is {image.mode} {image.size}, not {channels} x {(width, height)}")
            return np.asarray(image).reshape(shape)
    except (OSError, SyntaxError) as error:
        raise OutputError("an image of the source is damaged") from error


def opened(temporary: AnyTemporary) -> BinaryIO:
    """Return the file of a temporary that is a file."""
    if not isinstance(temporary, Temporary):
        raise TypeError("this format writes one file")
    return temporary.file
