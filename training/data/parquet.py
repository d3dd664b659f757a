"""Parquet files in the column layout of Hugging Face: `image` (a struct of bytes and path, or the bytes) and `label`.

Other columns, such as names, are ignored; if none is called `image`, the only one with such a struct is used.

A source is one file, or a folder with `train*.parquet` and `test*.parquet`, directly or in its folder `data`. Needs
pyarrow: `pip install mintage[parquet]`. Rows are read a few at a time, so a file may be larger than the memory; a row
group may not, which depends on the program that wrote the file.
"""

from __future__ import annotations

import contextlib
import importlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.data.image import ANY_FORMAT
from training.data.labelled import UNLABELLED, Split
from training.data.splits import ImageFile, ImageFiles
from training.errors import DataError

ROWS = 64  # read at a time, to bound the memory
MAX_GROUP_BYTES = 2 * 2**30  # of one row group, unpacked
IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "fine_label")


def recognises(source: Path) -> bool:
    """Return whether a source is a Parquet file or a folder with some."""
    if source.is_file():
        return source.suffix == ".parquet"
    return any(next(folder.glob("*.parquet"), None) for folder in (source, source / "data"))


def has_split(source: Path, split: Split) -> bool:
    """Return whether there are files of a split; a single file holds training images."""
    return split == "train" if source.is_file() else bool(_files_of(source, split))


def open_split(source: Path, split: Split, limit: int | None) -> ImageFiles:
    """Open the files of a split and check their columns.

    Raises:
        DataError: if there are no files, one is damaged or lacks such columns, or pyarrow is not installed.
    """
    paths = [source] if source.is_file() else _files_of(source, split)
    if not paths or not has_split(source, split):
        raise DataError(f"{source} has no {split}*.parquet, here or in a folder `data`; name the files by split")
    files = [_File(path, str(path.relative_to(source)) if source.is_dir() else path.name) for path in paths]
    other = next((file for file in files if file.classes != files[0].classes), None)
    if other is not None:
        raise DataError(f"{other.path} names other classes than {files[0].path}; one split has one list of classes")

    def images() -> Iterator[ImageFile]:
        for file in files:
            yield from file.images()

    named = tuple((file.name, file.path) for file in files)
    return ImageFiles(str(source), named, images, files[0].classes, sum(file.count for file in files))


def _files_of(source: Path, split: Split) -> list[Path]:
    """Return the files of a split in the order of their names."""
    found: list[Path] = []
    for folder in (source, source / "data"):
        found = found or sorted(path for path in folder.glob(f"{split}*.parquet") if path.is_file())
    return found


class _File:
    """One Parquet file whose columns have been checked."""

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self._arrow, self._parquet = _library("pyarrow"), _library("pyarrow.parquet")
        with self._explained("is not a Parquet file, or is damaged"), self._parquet.ParquetFile(path) as file:
            schema, metadata = file.schema_arrow, file.metadata
            self.count = int(metadata.num_rows)
            largest = max((metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups)), default=0)
            self._image, self._nested = self._image_column(schema)
            self._label = self._label_column(schema)
            self.classes = self._class_names(schema.metadata or {})
        if largest > MAX_GROUP_BYTES:
            raise self._error(f"has a row group of {largest} bytes; write at most {MAX_GROUP_BYTES} in one")

    def images(self) -> Iterator[ImageFile]:
        """Yield the rows' images."""
        columns = [self._image] + ([self._label] if self._label else [])
        row = 0
        with self._explained("has damaged rows"), self._parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=ROWS, columns=columns):
                for content, label in self._rows(batch):
                    yield ImageFile(f"{self.name} row {row}", content, ANY_FORMAT, label)
                    row += 1
        if row != self.count:
            raise self._error(f"holds {row} rows, but its footer says {self.count}; download it again")

    def _rows(self, batch: Any) -> Iterator[tuple[bytes, int]]:
        """Yield the bytes (b"" if missing) and the label of each row."""
        images = batch.column(batch.schema.get_field_index(self._image))
        if self._nested:
            images = images.flatten()[images.type.get_field_index("bytes")]
        labels = batch.column(batch.schema.get_field_index(self._label)).to_pylist() if self._label else []
        for row, content in enumerate(images.to_pylist()):
            label = labels[row] if labels else None
            yield content or b"", UNLABELLED if label is None else label

    @contextlib.contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        """Turn the library's exceptions into DataErrors that name the file."""
        try:
            yield
        except (self._arrow.ArrowException, OSError, ValueError) as error:
            first_line = str(error).partition("\n")[0].rstrip(".")
            raise self._error(f"{what}: {first_line}; download it again") from None

    def _image_column(self, schema: Any) -> tuple[str, bool]:
        """Return the image column, and whether it is a struct that holds the bytes."""
        types = self._arrow.types
        structs = [field.name for field in schema if types.is_struct(field.type) and _has_bytes(field.type)]
        usual = [name for name in IMAGE_COLUMNS if schema.names.count(name) == 1]
        name = next(iter(usual or (structs if len(structs) == 1 else [])), None)
        if name is not None:
            kind = schema.field(name).type
            nested = types.is_struct(kind) and _has_bytes(kind)
            bare = kind.field("bytes").type if nested else kind
            if types.is_binary(bare) or types.is_large_binary(bare):
                return name, nested
        raise self._error(
            f"has the columns {', '.join(f'{f.name} ({f.type})' for f in schema)}; expected `image`, with the bytes of "
            "image files or a struct of `bytes` and `path`"
        )

    def _label_column(self, schema: Any) -> str | None:
        """Return the column with the labels, if there is one."""
        name = next((name for name in LABEL_COLUMNS if schema.names.count(name) == 1), None)
        if name is not None and not self._arrow.types.is_integer(schema.field(name).type):
            raise self._error(f"has a column {name} of {schema.field(name).type}; integers 0, 1, ... were expected")
        return name

    def _class_names(self, metadata: dict[bytes, bytes]) -> tuple[str, ...]:
        """Return the names of the classes that Hugging Face's metadata lists, () if there are none."""
        try:
            names = json.loads(metadata[b"huggingface"])["info"]["features"][self._label]["names"]
        except (KeyError, TypeError, ValueError):
            return ()
        return tuple(str(name) for name in names) if isinstance(names, list) else ()

    def _error(self, what: str) -> DataError:
        return DataError(f"{self.path} {what}")


def _has_bytes(struct: Any) -> bool:
    return bool(struct.get_field_index("bytes") >= 0)


def _library(name: str) -> Any:
    """Import a module of pyarrow; DataError with instructions if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise DataError("reading Parquet files needs pyarrow; get it with: pip install mintage[parquet]") from None
