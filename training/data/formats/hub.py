"""Data sets of the Hugging Face hub: `hf:owner/name`, or `hf:owner/name@revision`.

Needs the datasets library, version 4 or later, which does not run a data set's code: `./mint extra datasets`.
Files are downloaded once, into the library's own cache; HF_HUB_OFFLINE=1 forbids network access.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.data.formats import columns
from training.data.labelled import UNLABELLED, Split, limited
from training.data.report import Report
from training.data.splits import ImageFile, ImageFiles
from training.errors import DataError

PREFIX = "hf:"
NAME_PATTERN = re.compile(r"hf:(?P<name>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w./-]+))?", re.ASCII)
ROWS = 64  # read at a time, to bound the memory


def has_split(source: str, split: Split) -> bool:
    """Return whether a data set has a split."""
    library = _library()
    name, revision = _parsed(source)
    with _explained(source):
        return split in library.get_dataset_split_names(name, revision=revision)


def open_split(source: str, split: Split, limit: int | None, report: Report) -> ImageFiles:
    """Open a split, downloading it if necessary; see `training.data.splits.Format`.

    Raises:
        DataError: if the library is not installed, or the data set is unavailable or has no column of images.
    """
    library = _library()
    name, revision = _parsed(source)
    with _explained(source):
        rows = library.load_dataset(name, split=split, revision=revision)
        image = _image_column(source, rows.features, library)
        label = _label_column(source, rows.features)
        report.pass_over(columns.OTHERS, *(name for name in rows.features if name not in (image, label)))
        classes = columns.class_names(rows.features[label]) if label else ()
        files = tuple((Path(file["filename"]).name, Path(file["filename"])) for file in rows.cache_files)
        chosen = _chosen(rows, label, limit, report)
        rows = rows.select_columns([column for column in (image, label) if column])
        rows = rows.select(chosen) if len(chosen) < len(rows) else rows
        rows = rows.cast_column(image, library.Image(decode=False))

    def images(_: Report) -> Iterator[ImageFile]:
        with _explained(source):
            for number, (content, value) in enumerate(_rows(rows, image, label)):
                yield ImageFile(f"row {number}", content, UNLABELLED if value is None else value)

    return ImageFiles(source, files, images, classes, len(rows))


def _rows(rows: Any, image: str | None, label: str | None) -> Iterator[tuple[bytes | Path, int | str | None]]:
    """Yield each row's encoded image, and its label if there is one."""
    for batch in rows.iter(batch_size=ROWS):
        labels = batch[label] if label else [None] * len(batch[image])
        for value, number in zip(batch[image], labels, strict=True):
            yield _content(value), number


def _parsed(source: str) -> tuple[str, str | None]:
    """Return the name and the revision of `hf:owner/name@revision`."""
    match = NAME_PATTERN.fullmatch(source)
    if match is None:
        raise DataError(f"{source} is not a name on the hub; expected hf:owner/name or hf:owner/name@revision")
    return match["name"], match["revision"]


def _library() -> Any:
    """Import the library; DataError with instructions if it is missing."""
    try:
        return importlib.import_module("datasets")
    except ImportError:
        raise DataError(
            "names that begin with hf: need the datasets library; get it with: ./mint extra datasets"
        ) from None


@contextlib.contextmanager
def _explained(source: str) -> Iterator[None]:
    """Turn any exception of the library into a one-line DataError that names the data set."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise DataError(f"{source} cannot be loaded: {reason}") from error


def _image_column(source: str, features: dict[str, Any], library: Any) -> str:
    """Return the column of images: by its usual name, or else the only one of that kind."""
    of_kind = [name for name, feature in features.items() if isinstance(feature, library.Image)]
    named = [name for name in columns.IMAGES if name in features]
    found = [name for name in named if name in of_kind] or named or of_kind
    if not found:
        raise DataError(f"{source} has the columns {', '.join(features)}, none of images; choose another data set")
    if not named and len(of_kind) > 1:
        raise DataError(f"{source} has {len(of_kind)} columns of images, {', '.join(of_kind)}; none is called image")
    return found[0]


def _label_column(source: str, features: dict[str, Any]) -> str | None:
    """Return the column with the labels, if there is one."""
    kinds = {name: str(getattr(feature, "dtype", "?")) for name, feature in features.items()}
    integers = [name for name, kind in kinds.items() if kind.startswith(("int", "uint"))]
    texts = [name for name, kind in kinds.items() if kind in ("string", "large_string")]
    declared = [name for name, feature in features.items() if columns.class_names(feature)]
    return columns.label_column(kinds, integers=integers, texts=texts, declared=declared, source=source)


def _chosen(rows: Any, label: str | None, limit: int | None, report: Report) -> list[int]:
    """Return the numbers of the rows that a limit chooses."""
    if limit is None or len(rows) <= limit:
        return list(range(len(rows)))
    labels: list[int | str] = [UNLABELLED] * len(rows)
    if label is not None:
        column = rows.select_columns([label])
        labels = [
            UNLABELLED if value is None else value for batch in column.iter(batch_size=1000) for value in batch[label]
        ]
    chosen: list[int] = limited(labels, limit, report).tolist()
    return chosen


def _content(value: dict[str, Any] | None) -> bytes | Path:
    """Return an encoded image's bytes, or the path that the library gives instead."""
    if value is None:
        return b""
    return value["bytes"] or (Path(value["path"]) if value["path"] else b"")
