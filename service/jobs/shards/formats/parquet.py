"""Parquet as Hugging Face datasets reads it: `data/train-00000-of-00010.parquet`.

The columns are `image`, `index`, `seed` or `latent`, and `label` if the generator takes a class. All but the images
have statistics, so a filter on them reads few row groups.

An image is a PNG file, `struct<bytes: binary, path: string>`. The rows of a row group follow from the size
of the images alone, so neither memory nor bytes depend on the pieces in which images come. Arrow is imported where it
is needed.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from service.images import png
from service.jobs.formulas import facts
from service.jobs.shards.formats.card import Reading, features_of
from service.jobs.shards.formats.folder import image_name
from service.jobs.shards.formats.layout import ImageLayout, ShardWriter, decoded, opened
from service.jobs.shards.marker import read_marker
from service.jobs.storage.output import AnyTemporary, Output, OutputError

if TYPE_CHECKING:
    import pyarrow
    from typing_extensions import Buffer

GROUP_BYTES, GROUP_ROWS = 8 << 20, 1024  # of pixels, and rows, in a row group: what a writer keeps in memory
MAX_GROUP_BYTES = 1 << 29  # that a reader takes into memory; no writer of ours comes near it
CODE = """
from datasets import load_dataset  # or polars.scan_parquet, duckdb, pandas.read_parquet("data")

images = load_dataset("path/of/this/folder", split="train")
"""
PINNED = {
    "version": "2.6",
    "compression": "NONE",  # the images are compressed
    "data_page_size": 1 << 20,
    "data_page_version": "1.0",
    "store_schema": True,
}


class ParquetLayout(ImageLayout):
    """Shards `data/train-00000-of-00010.parquet`."""

    __slots__ = ()
    encoder = f"{png.ENCODER}, pyarrow {importlib.metadata.version('pyarrow')}"
    suffix = "parquet"

    @property
    def group_rows(self) -> int:
        """Rows of a row group: a power of two, at most 8 MiB of pixels."""
        most = max(1, min(GROUP_ROWS, GROUP_BYTES // int(np.prod(self.shape))))
        return 1 << (most.bit_length() - 1)

    @property
    def features(self) -> dict[str, dict[str, Any]]:
        """The columns, as Hugging Face datasets writes them."""
        return {"image": {"_type": "Image"}, **features_of(self.sampling)}

    @property
    def reading(self) -> Reading:
        """How the format is read."""
        return Reading(CODE, "data/train-*.parquet", self.features)

    def writer(self, temporary: AnyTemporary, shard: int) -> ParquetWriter:
        """Write a shard into a temporary file."""
        return ParquetWriter(opened(temporary), self)

    @contextlib.contextmanager
    def images(self, output: Output, shard: int) -> Iterator[ParquetReader]:
        """Open a shard for reading its images, if it is what its marker says: Arrow dies of some damaged files."""
        marker = read_marker(output, shard)
        if marker is None or self.digest(output, shard)[0] != marker.digest:
            raise OutputError(f"{self.name(shard)} was changed: it is not what its marker says")
        with self.open(output, shard) as file:
            yield ParquetReader(file, self.plan.span(shard), self)


class ParquetWriter(ShardWriter):
    """Writes a Parquet file; at most one row group waits in memory."""

    def __init__(self, file: BinaryIO, layout: ParquetLayout) -> None:
        super().__init__(file)
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._sampling, self._schema, self._group_rows = layout.sampling, schema(layout), layout.group_rows
        self._first, self._waiting = 0, list[bytes]()
        few = [name for name in self._schema.names if name in ("seed", "latent", "label")]
        plain = [name for name in self._schema.names if name != "image"]
        self._parquet = pq.ParquetWriter(
            _Sink(self, file), self._schema, use_dictionary=few, write_statistics=plain, **PINNED
        )

    def add(self, first_index: int, images: NDArray[np.uint8]) -> None:
        """Append images uint8 [N, H, W, C] of consecutive indices."""
        for index, image in enumerate(png.encode(images), start=first_index):
            if not self._waiting:
                self._first = index
            self._waiting.append(image)
            if len(self._waiting) == self._group_rows:
                self._write_group()

    def finish(self) -> None:
        """Write what waits, and the footer."""
        self._write_group()
        self._parquet.close()

    def _write_group(self) -> None:
        import pyarrow as pa  # noqa: PLC0415

        if self._waiting:
            rows = range(self._first, self._first + len(self._waiting))
            files = [{"bytes": data, "path": image_name(row)} for row, data in zip(rows, self._waiting, strict=True)]
            known = [facts(self._sampling, row) for row in rows]
            columns = [files, *([fact[name] for fact in known] for name in self._schema.names[1:])]
            arrays = [pa.array(column, kind) for column, kind in zip(columns, self._schema.types, strict=True)]
            table = pa.table(arrays, schema=self._schema)
            self._parquet.write_table(table, row_group_size=self._group_rows)
            self._waiting.clear()


class ParquetReader:
    """Reads images of a file that must be cut and typed as `ParquetWriter` does it; nothing in it is compressed."""

    def __init__(self, file: BinaryIO, span: range, layout: ParquetLayout) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415

        self._span, self._group_rows, self._shape = span, layout.group_rows, layout.shape
        self._group, self._rows = -1, list[dict[str, Any]]()
        with _explained():
            self._parquet = pq.ParquetFile(file)
            metadata = self._parquet.metadata
            groups = [metadata.row_group(group) for group in range(metadata.num_row_groups)]
            columns = [group.column(number) for group in groups for number in range(group.num_columns)]
            sound = (
                self._parquet.schema_arrow.equals(schema(layout))
                and [group.num_rows for group in groups] == [len(rows) for rows in self._cut()]
                and all(group.total_byte_size <= MAX_GROUP_BYTES for group in groups)
                and all(column.compression == "UNCOMPRESSED" for column in columns)
            )
        if not sound:
            raise OutputError(f"a Parquet file does not hold {len(span)} images as they are written")

    def read(self, indices: range) -> NDArray[np.uint8]:
        """Return images uint8 [len(indices), H, W, C]; one row group is in memory at a time."""
        if not (self._span.start <= indices.start and indices.stop <= self._span.stop):
            raise OutputError(f"a Parquet file does not hold the images {indices.start} to {indices.stop - 1}")
        images = np.empty((len(indices), *self._shape), np.uint8)  # [n, H, W, C]
        for row, index in enumerate(indices):
            images[row] = decoded(self._file(index), self._shape)
        return images

    def _file(self, index: int) -> bytes:
        group, place = divmod(index - self._span.start, self._group_rows)
        if group != self._group:
            with _explained():
                self._rows = self._parquet.read_row_group(group, use_threads=False).to_pylist()
            self._group = group
        found = self._rows[place]
        image = found["image"] or {}
        if (found["index"], image.get("path")) != (index, image_name(index)) or not image.get("bytes"):
            raise OutputError(f"a Parquet file does not hold {image_name(index)} where it must")
        data: bytes = image["bytes"]
        return data

    def _cut(self) -> list[range]:
        return [self._span[at : at + self._group_rows] for at in range(0, len(self._span), self._group_rows)]


class _Sink(io.RawIOBase):
    """The file object that Arrow writes into: passes bytes on to a shard's writer while its file is open.

    Arrow writes the footer of an abandoned file when that is garbage-collected; then the bytes are dropped.
    """

    def __init__(self, writer: ShardWriter, file: BinaryIO) -> None:
        self._writer, self._file = writer, file

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        whole = bytes(data)
        if not self._file.closed:
            self._writer.write(whole)
        return len(whole)


def schema(layout: ParquetLayout) -> pyarrow.Schema:
    """Columns, with the metadata by which Hugging Face datasets knows images and classes."""
    import pyarrow as pa  # noqa: PLC0415

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    kinds = {"index": pa.int64(), "seed": pa.uint64(), "latent": pa.string(), "label": pa.int64()}
    metadata = {"huggingface": json.dumps({"info": {"features": layout.features}}, sort_keys=True)}
    columns = [("image", image), *((name, kinds[name]) for name in layout.features if name != "image")]
    return pa.schema(columns, metadata=metadata)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn Arrow's errors into OutputError."""
    import pyarrow as pa  # noqa: PLC0415

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise OutputError("a Parquet file is damaged") from error
