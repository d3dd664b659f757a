"""The interface of a format: names, a writer, the bytes that the digest covers, and a reader of images."""

from __future__ import annotations

import hashlib
import io
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.jobs.plan import Plan
from service.jobs.storage.output import AnyTemporary, Output, OutputError, Temporary


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

    def name(self, shard: int) -> str:
        """Name of a shard's file or folder below the job's folder."""
        return f"shards/{shard:06d}.{self.suffix}"

    def file_name(self, shard: int) -> str:
        """Name that a shard has as one file, such as `000000.tar`."""
        return self.name(shard).rpartition("/")[2]

    def size(self, output: Output, shard: int) -> int | None:
        """Return the size of a shard in bytes, or None if it is not there."""
        return output.size(self.name(shard))

    def open(self, output: Output, shard: int) -> AbstractContextManager[BinaryIO]:
        """Open a shard as one file, for reading from beginning to end: the bytes that its digest covers."""
        return output.open(self.name(shard))

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

    @abstractmethod
    def writer(self, temporary: AnyTemporary, shard: int) -> ImageWriter:
        """Write a shard into a temporary of this layout."""

    @abstractmethod
    def images(self, output: Output, shard: int) -> AbstractContextManager[ImageReader]:
        """Open a shard for reading its images."""

    def sum_up(self, output: Output, digests: Mapping[int, str]) -> dict[str, str]:
        """Write this format's files of the whole job, such as a dataset card; repeating it writes the same bytes.

        Args:
            output: the job's folder.
            digests: the finished shards in order, with the digests in their markers.

        Returns: the digests of what was written, by name.

        Raises:
            OutputError: if a shard that had to be read is not what its marker says.
        """
        return {}


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
