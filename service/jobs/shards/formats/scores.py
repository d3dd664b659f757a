"""The shard of a score job: a safetensors file with a row for each image, written and read a few rows at a time.

    probabilities float32 [n, K]   of a classifier
    generated     float32 [n]      p(generated), if the classifier can say
    activations   float32 [n, C]   of the neurons of an autoencoder's concepts
    features      float32 [n, F]   what two sets of images are compared by
    detected      bool [n, C]      of the concepts
    readable      bool [n]         of the images of a folder: the others' rows are 0

The header of one that scored a folder says what was read: the digest of the files' bytes, and how many were resized.
"""

from __future__ import annotations

import contextlib
import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from service.jobs.plan import Plan, canonical_json
from service.jobs.shards.formats.layout import Layout, ShardWriter
from service.jobs.shards.marker import Marker
from service.jobs.storage.output import Output, OutputError, file_digest

MAX_HEADER_BYTES = 1 << 16  # far more than six columns take
_DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "BOOL": np.dtype(np.bool_)}


class TensorLayout(Layout):
    """Shards `data/scores-00000-of-00010.safetensors`."""

    __slots__ = ()
    stem = "scores"
    encoder = ""
    suffix = "safetensors"


@dataclass(frozen=True, slots=True)
class Column:
    """A tensor of the file; `width` is None for one number per image."""

    dtype: str
    width: int | None

    def shape(self, count: int) -> tuple[int, ...]:
        """Shape of `count` rows."""
        return (count,) if self.width is None else (count, self.width)

    @property
    def row_bytes(self) -> int:
        """Bytes of a row."""
        return _DTYPES[self.dtype].itemsize * math.prod(self.shape(1))


def columns_of(plan: Plan, *, generated: bool) -> dict[str, Column]:
    """Return the columns in the order of the file; `generated` says whether the classifier gives p(generated)."""
    assert plan.scoring is not None  # noqa: S101 - only of score jobs
    scoring, concepts = plan.scoring, len(plan.scoring.concepts)
    wanted = {
        "probabilities": Column("F32", len(scoring.classes)) if scoring.classes else None,
        "generated": Column("F32", None) if generated else None,
        "activations": Column("F32", concepts) if concepts else None,
        "features": Column("F32", scoring.features) if scoring.features else None,
        "detected": Column("BOOL", concepts) if concepts else None,
        "readable": Column("BOOL", None) if scoring.source_folder else None,
    }
    return {name: column for name, column in wanted.items() if column is not None}


@dataclass(frozen=True, slots=True)
class SourceStats:
    """What a shard read from a folder: digest of the files' bytes, number of images that were resized."""

    source_digest: str
    resized: int

    def to_header(self) -> dict[str, str]:
        """Return its part of the header, of the same length for all values."""
        return {"source_digest": self.source_digest, "resized": f"{self.resized:09d}"}


_NO_STATS = SourceStats("0" * 64, 0)


class ScoreWriter(ShardWriter):
    """Writes the shard of a score job, each row to its place. Memory does not grow with the shard.

    Args:
        file: open for writing and reading, empty.
        plan: the job's plan.
        shard: which shard it is.
    """

    def __init__(self, file: BinaryIO, plan: Plan, shard: int) -> None:
        super().__init__(file)
        self._file, self._plan, self._count = file, plan, len(plan.span(shard))
        self._columns: dict[str, Column] = {}
        self._starts: dict[str, int] = {}
        self._rows = 0

    @property
    def digest(self) -> str:
        """SHA-256 of the file, in hexadecimal, after `finish`: rows are not written in the order of their bytes."""
        return file_digest(self._file)

    def add(self, **rows: NDArray[Any] | None) -> None:
        """Append the rows of the next images: an array for each column, None for a missing one.

        Raises:
            ValueError: if the columns are others than before.
        """
        given = {name: values for name, values in rows.items() if values is not None}
        if not self._columns:
            self._begin(generated="generated" in given)
        if given.keys() != self._columns.keys():
            raise ValueError(f"the model gives {sorted(given)} for some images and {sorted(self._columns)} for others")
        count = len(next(iter(given.values())))
        for name, values in given.items():
            column = self._columns[name]
            if values.shape != column.shape(count) or self._rows + count > self._count:
                raise ValueError(f"{name} is {list(values.shape)}, not {list(column.shape(count))}")
            self._file.seek(self._starts[name] + self._rows * column.row_bytes)
            self._file.write(values.astype(_DTYPES[column.dtype]).tobytes())
        self._rows += count

    def finish(self, read: SourceStats | None = None) -> None:
        """Complete the header.

        Raises:
            ValueError: if rows are missing.
        """
        if self._rows != self._count:
            raise ValueError(f"{self._rows} of {self._count} rows were written")
        if read is not None:
            self._file.seek(0)
            self._file.write(_header(self._columns, self._count, read))
        self._file.seek(0, 2)
        self.size = self._file.tell()

    def _begin(self, *, generated: bool) -> None:
        self._columns = columns_of(self._plan, generated=generated)
        read = _NO_STATS if "readable" in self._columns else None
        header = _header(self._columns, self._count, read)
        start = len(header)
        for name, column in self._columns.items():
            self._starts[name] = start
            start += self._count * column.row_bytes
        self._file.write(header)


class ScoreReader:
    """Reads rows of a score job's shard; `open_scores` has checked the file."""

    def __init__(self, file: BinaryIO, columns: Mapping[str, Column], count: int, start: int) -> None:
        self._file, self.columns, self._starts = file, columns, {}
        for name, column in columns.items():
            self._starts[name] = start
            start += count * column.row_bytes

    def rows(self, name: str, rows: range) -> NDArray[Any]:
        """Return some rows of a column.

        Raises:
            OutputError: if the file was cut meanwhile.
        """
        column = self.columns[name]
        self._file.seek(self._starts[name] + rows.start * column.row_bytes)
        data = self._file.read(len(rows) * column.row_bytes)
        if len(data) != len(rows) * column.row_bytes:
            raise OutputError("a shard was cut while it was read")
        return np.frombuffer(data, _DTYPES[column.dtype]).reshape(column.shape(len(rows)))


@contextlib.contextmanager
def open_scores(output: Output, plan: Plan, marker: Marker, *, check: bool = True) -> Iterator[ScoreReader]:
    """Open a shard, after comparing its hash with its marker if `check` is true.

    Raises:
        OutputError: if it is missing, was changed, or does not hold what its plan says.
    """
    name = TensorLayout(plan).name(marker.shard)
    try:
        with output.open(name) as file:
            if check and file_digest(file) != marker.digest:
                raise OutputError(f"{name} was changed: it is not what its marker says")
            file.seek(0)
            yield _opened(file, plan, marker.count, name)
    except FileNotFoundError:
        raise OutputError(f"{name} is missing: it is not what its marker says") from None


def source_stats(output: Output, plan: Plan, shard: int) -> SourceStats | None:
    """Return what a shard's header says about the folder it read; None if there is no such shard.

    Raises:
        OutputError: if it does not say.
    """
    name = TensorLayout(plan).name(shard)
    try:
        with output.open(name) as file:
            metadata = _parsed(file, name)[0].get("__metadata__", {})
            return SourceStats(str(metadata["source_digest"]), int(metadata["resized"]))
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError):
        raise OutputError(f"{name} does not say what it scored") from None


def _opened(file: BinaryIO, plan: Plan, count: int, name: str) -> ScoreReader:
    header, start = _parsed(file, name)
    columns = columns_of(plan, generated="generated" in header)
    header.pop("__metadata__", None)
    if header != _tensors(columns, count):
        raise OutputError(f"{name} does not hold the scores that its plan says")
    return ScoreReader(file, columns, count, start)


def _parsed(file: BinaryIO, name: str) -> tuple[dict[str, Any], int]:
    """Return the header of a safetensors file, and where its tensors begin."""
    first = file.read(8)
    size = struct.unpack("<Q", first)[0] if len(first) == 8 else MAX_HEADER_BYTES + 1
    try:
        header = json.loads(file.read(size)) if size <= MAX_HEADER_BYTES else None
    except ValueError:
        header = None
    if not isinstance(header, dict):
        raise OutputError(f"{name} is no safetensors file of scores")
    return header, 8 + size


def _tensors(columns: Mapping[str, Column], count: int) -> dict[str, Any]:
    tensors, start = {}, 0
    for name, column in columns.items():
        end = start + count * column.row_bytes
        shape = list(column.shape(count))
        tensors[name] = {"dtype": column.dtype, "shape": shape, "data_offsets": [start, end]}
        start = end
    return tensors


def _header(columns: Mapping[str, Column], count: int, read: SourceStats | None) -> bytes:
    metadata = {} if read is None else {"__metadata__": read.to_header()}
    text = canonical_json({**metadata, **_tensors(columns, count)}).rstrip()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text
