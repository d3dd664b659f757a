"""Parquet files in the column layout of Hugging Face: `image` (a struct of bytes and path, or the bytes) and `label`.

If no column is called `image`, the only one with such a struct is used; labels may also be called `labels`, `target` or
`class`, or be declared by a ClassLabel; text is the name of a class. Other columns, such as names, are not read.

A source is one file, or a folder as downloaded from the hub: the split stands in the name of each file or of its
folder, as in `data/train-00000-of-00001.parquet` or `default/train/0000.parquet`. Needs pyarrow:
`./mint extra parquet`. Rows are read a few at a time, so a file may be larger than the memory; a row group may
not, which depends on the program that wrote the file.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.data.formats import columns
from training.data.formats.listing import PARQUET, packed_below
from training.data.formats.split_names import by_split, one_folder, pass_over_others
from training.data.labelled import MAX_CLASSES, UNLABELLED, Split, limited
from training.data.report import Report
from training.data.splits import ImageFile, ImageFiles
from training.errors import DataError

ROWS = 64  # read at a time, to bound the memory
MAX_GROUP_BYTES = 2 * 2**30  # of one row group, unpacked


def recognises(source: Path) -> bool:
    """Return whether a source is a Parquet file or a folder with some."""
    return source.name.lower().endswith(PARQUET) if source.is_file() else bool(packed_below(source).tables)


def has_split(source: Path, split: Split) -> bool:
    """Return whether there are files of a split; a single file holds training images."""
    return split in _files_of(source, Report())


def open_split(source: Path, split: Split, limit: int | None, report: Report) -> ImageFiles:
    """Open the files of a split and check their columns.

    Raises:
        DataError: if there are no files, it is not clear which are meant, one is damaged or lacks such columns, or
            pyarrow is not installed.
    """
    paths = _files_of(source, report).get(split)
    if not paths:
        raise DataError(f"{source} has no {split}*.parquet; give the files of a split a name with {split} in it")
    files = [_File(path, str(path.relative_to(source)) if source.is_dir() else path.name) for path in paths]
    other = next((file for file in files if file.classes != files[0].classes), None)
    if other is not None:
        raise DataError(f"{other.path} names other classes than {files[0].path}; one split has one list of classes")
    report.pass_over(columns.OTHERS, *files[0].other_columns)
    chosen = _chosen(files, limit, report)
    count = sum(file.count for file in files)

    def images(_: Report) -> Iterator[ImageFile]:
        numbers = itertools.count()
        for file in files:
            for image, number in zip(file.images(), numbers, strict=False):
                if chosen is None or number in chosen:
                    yield image

    named = tuple((file.name, file.path) for file in files)
    return ImageFiles(str(source), named, images, files[0].classes, count if chosen is None else len(chosen))


def column(source: Path, split: Split, name: str, limit: int | None) -> list[Any] | None:
    """Return the values of a column for the images of a split, None if a file lacks it; see `open_split`."""
    files = [_File(path, path.name) for path in _files_of(source, Report()).get(split, [])]
    if not all(name in file.other_columns for file in files):
        return None
    chosen = _chosen(files, limit, Report())
    values = (value for file in files for value in file.column(name))
    return [value for number, value in enumerate(values) if chosen is None or number in chosen]


def _chosen(files: list[_File], limit: int | None, report: Report) -> set[int] | None:
    """Return the numbers of the rows that a limit chooses, None for all."""
    if limit is None or sum(file.count for file in files) <= limit:
        return None
    return set(limited([label for file in files for label in file.labels()], limit, report).tolist())


def _files_of(source: Path, report: Report) -> dict[str, list[Path]]:
    """Return the files of each split in the order of their names."""
    if source.is_file():
        return {"train": [source]}
    found = packed_below(source)
    found.check_alone(source)
    one_folder(source, found.tables, what="Parquet files")
    splits = by_split(source, found.tables, what="Parquet files")
    pass_over_others(source, splits, report, what="Parquet files")
    return splits


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
            features = _features(schema.metadata or {})
            self._label = self._label_column(schema, features)
            self.classes = columns.class_names(features.get(self._label))
            self.other_columns = tuple(name for name in schema.names if name not in (self._image, self._label))
        if largest > MAX_GROUP_BYTES:
            raise self._error(f"has a row group of {largest} bytes; write at most {MAX_GROUP_BYTES} in one")

    def labels(self) -> list[int | str]:
        """Return the labels of all rows, `UNLABELLED` where there is none."""
        if self._label is None:
            return [UNLABELLED] * self.count
        values = (UNLABELLED if value is None else value for value in self.column(self._label))
        return [value if isinstance(value, str) or abs(value) < MAX_CLASSES else UNLABELLED for value in values]

    def column(self, name: str) -> list[Any]:
        """Return a column's values."""
        with self._explained("has damaged rows"):
            found: list[Any] = self._parquet.read_table(self.path, columns=[name])[name].to_pylist()
            return found

    def images(self) -> Iterator[ImageFile]:
        """Yield the rows' images."""
        wanted = [self._image] + ([self._label] if self._label else [])
        row = 0
        with self._explained("has damaged rows"), self._parquet.ParquetFile(self.path) as file:
            for batch in file.iter_batches(batch_size=ROWS, columns=wanted):
                for content, label in self._rows(batch):
                    yield ImageFile(f"{self.name} row {row}", content, label)
                    row += 1
        if row != self.count:
            raise self._error(f"holds {row} rows, but its footer says {self.count}; download it again")

    def _rows(self, batch: Any) -> Iterator[tuple[bytes, int | str]]:
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
        usual = [name for name in columns.IMAGES if schema.names.count(name) == 1]
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

    def _label_column(self, schema: Any, features: dict[str | None, Any]) -> str | None:
        """Return the column with the labels, if there is one."""
        kinds = {field.name: str(field.type) for field in schema if schema.names.count(field.name) == 1}
        integers = [name for name in kinds if self._arrow.types.is_integer(schema.field(name).type)]
        texts = [name for name in kinds if self._is_text(schema.field(name).type)]
        declared = [name for name in kinds if columns.class_names(features.get(name))]
        return columns.label_column(kinds, integers=integers, texts=texts, declared=declared, source=str(self.path))

    def _is_text(self, kind: Any) -> bool:
        types = self._arrow.types
        plain = kind.value_type if types.is_dictionary(kind) else kind
        return bool(types.is_string(plain) or types.is_large_string(plain))

    def _error(self, what: str) -> DataError:
        return DataError(f"{self.path} {what}")


def _features(metadata: dict[bytes, bytes]) -> dict[str | None, Any]:
    """Return what Hugging Face's metadata say of each column, {} if they are missing or make no sense."""
    try:
        found = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _has_bytes(struct: Any) -> bool:
    return bool(struct.get_field_index("bytes") >= 0)


def _library(name: str) -> Any:
    """Import a module of pyarrow; DataError with instructions if it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError:
        raise DataError("reading Parquet files needs pyarrow; get it with: ./mint extra parquet") from None
