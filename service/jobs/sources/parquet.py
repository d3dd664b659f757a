"""The images of a Parquet file, as Hugging Face datasets writes them: column `image`, bytes or struct<bytes, ...>."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from service.jobs.sources.inputs import SourceError

COLUMN = "image"
ROWS = 16  # that are in memory at a time


def count_rows(file: BinaryIO, name: str) -> int:
    """Return the number of rows.

    Raises:
        SourceError: if it is no Parquet file with a column of images.
    """
    with _explained(name):
        parquet = _opened(file)
        _column(parquet, name)
        return int(parquet.metadata.num_rows)


def rows_of(file: BinaryIO, name: str, rows: range) -> Iterator[bytes | None]:
    """Return the bytes of some rows in order, None for a row without any; rows before are passed over in groups.

    Raises:
        SourceError: if the file cannot be read.
    """
    with _explained(name):
        parquet = _opened(file)
        column, before, group = _column(parquet, name), 0, 0
        while before + parquet.metadata.row_group(group).num_rows <= rows.start:
            before += parquet.metadata.row_group(group).num_rows
            group += 1
        groups = list(range(group, parquet.num_row_groups))
        number = before
        for batch in parquet.iter_batches(batch_size=ROWS, row_groups=groups, columns=[column]):
            for value in batch.column(0):
                if number >= rows.stop:
                    return
                if number >= rows.start:
                    yield _bytes(value.as_py())
                number += 1


def _opened(file: BinaryIO) -> Any:
    import pyarrow.parquet as pq  # noqa: PLC0415 - only for such folders

    return pq.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)


def _column(parquet: Any, name: str) -> str:
    """Return what to read of the column of images."""
    from pyarrow import types  # noqa: PLC0415

    schema = parquet.schema_arrow
    kind = schema.field(COLUMN).type if COLUMN in schema.names else None
    if kind is not None and types.is_struct(kind) and kind.get_field_index("bytes") >= 0:
        inner = kind.field("bytes").type
        if types.is_binary(inner) or types.is_large_binary(inner):
            return f"{COLUMN}.bytes"
    elif kind is not None and (types.is_binary(kind) or types.is_large_binary(kind)):
        return COLUMN
    raise SourceError(f"{name} has no column `image` of bytes, or of a struct with `bytes`")


def _bytes(value: Any) -> bytes | None:
    found = value.get("bytes") if isinstance(value, dict) else value
    return found if isinstance(found, bytes) else None


@contextlib.contextmanager
def _explained(name: str) -> Iterator[None]:
    import pyarrow as pa  # noqa: PLC0415

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise SourceError(f"{name} cannot be read as Parquet: {str(error).splitlines()[0]}") from error
