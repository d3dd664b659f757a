"""Data sets of the Hugging Face hub: `hf:owner/name`, or `hf:owner/name@revision`.

Needs the datasets library, version 4 or later, which does not run a data set's code: `pip install mintage[datasets]`.
Files are downloaded once, into the library's own cache; HF_HUB_OFFLINE=1 forbids network access.
"""

from __future__ import annotations

import contextlib
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from training.data.image import ANY_FORMAT
from training.data.labelled import UNLABELLED, Split
from training.data.splits import ImageFile, ImageFiles
from training.errors import DataError

PREFIX = "hf:"
NAME_PATTERN = re.compile(r"hf:(?P<name>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>[\w./-]+))?", re.ASCII)
ROWS = 64  # read at a time, to bound the memory
IMAGE_COLUMNS = ("image", "img")
LABEL_COLUMNS = ("label", "fine_label")


def has_split(source: str, split: Split) -> bool:
    """Return whether a data set has a split."""
    library = _library()
    name, revision = _parsed(source)
    with _explained(source):
        return split in library.get_dataset_split_names(name, revision=revision)


def open_split(source: str, split: Split) -> ImageFiles:
    """Open a split, downloading it if necessary.

    Raises:
        DataError: if the library is not installed, or the data set is unavailable or has no column of images.
    """
    library = _library()
    name, revision = _parsed(source)
    with _explained(source):
        rows = library.load_dataset(name, split=split, revision=revision)
        image = _column(rows.features, library.Image, IMAGE_COLUMNS)
        label = _column(rows.features, library.ClassLabel, LABEL_COLUMNS)
        _check_columns(source, rows.features, image, label)
        files = tuple((Path(file["filename"]).name, Path(file["filename"])) for file in rows.cache_files)
        rows = rows.select_columns([column for column in (image, label) if column])
        rows = rows.cast_column(image, library.Image(decode=False))

    def images() -> Iterator[ImageFile]:
        with _explained(source):
            for number, (content, value) in enumerate(_rows(rows, image, label)):
                yield ImageFile(f"row {number}", content, ANY_FORMAT, UNLABELLED if value is None else value)

    classes = tuple(getattr(rows.features[label], "names", ())) if label else ()
    return ImageFiles(source, files, images, classes, len(rows))


def _rows(rows: Any, image: str | None, label: str | None) -> Iterator[tuple[bytes | Path, int | None]]:
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
            "names that begin with hf: need the datasets library; get it with: pip install mintage[datasets]"
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


def _column(features: dict[str, Any], kind: type, usual: tuple[str, ...]) -> str | None:
    """Return the column of a kind, or the one with a usual name if there are several or kinds are unknown."""
    of_kind = [name for name, feature in features.items() if isinstance(feature, kind)]
    named = [name for name in usual if name in features]
    return next((name for name in named if name in of_kind), None) or next(iter(of_kind + named), None)


def _check_columns(source: str, features: dict[str, Any], image: str | None, label: str | None) -> None:
    """Raise DataError if there are no images, or labels are not numbers."""
    if image is None:
        raise DataError(f"{source} has the columns {', '.join(features)}, none of images; choose another data set")
    kind = getattr(features[label], "dtype", "?") if label else "int64"
    if not str(kind).startswith(("int", "uint")):
        raise DataError(f"{source} has a column {label} of {kind}; integers 0, 1, ... were expected")


def _content(value: dict[str, Any] | None) -> bytes | Path:
    """Return an encoded image's bytes, or the path that the library gives instead."""
    if value is None:
        return b""
    return value["bytes"] or (Path(value["path"]) if value["path"] else b"")
