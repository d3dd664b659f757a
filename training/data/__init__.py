"""Images, with or without labels, from many kinds of sources.

| source | what it is |
| --- | --- |
| `digits` | the first 10,000 and 2,000 images of MNIST, which ship with the project |
| a folder | with MNIST's IDX files, CIFAR's binary batches, Parquet files, one folder per class, or images alone |
| a folder | with WebDataset tars, or what a sample job wrote |
| a file | `.parquet`, `.npz`, a WebDataset `.tar` or `.tar.gz`, or CIFAR's |
| `hf:owner/name` | a data set of the Hugging Face hub |

docs/training.md has the layouts, and what is said of everything else.

Image files are decoded once and then mapped from a cache; see `training.data.cache`. IDX files and CIFAR's batches hold
pixels and are read directly.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from training.data import cache
from training.data.decode import OnProgress, decode_into
from training.data.formats import cifar, folder, hub, idx, job, npz, parquet, webdataset
from training.data.image import fitted
from training.data.joined import joined, must_have_one_set_of_classes, names_of, without_labels
from training.data.labelled import (
    UNLABELLED,
    LabelledImages,
    Split,
    choose_labelled,
    common_classes,
    limited,
    with_classes,
    with_names,
)
from training.data.options import Options
from training.data.report import Report
from training.data.splits import Format, ImageFiles, Pixels
from training.data.taught import TaughtImages
from training.errors import DataError

__all__ = [
    "DIGITS",
    "UNLABELLED",
    "LabelledImages",
    "Options",
    "Split",
    "TaughtImages",
    "choose_labelled",
    "common_classes",
    "has_split",
    "joined",
    "load",
    "must_have_one_set_of_classes",
    "names_of",
    "with_classes",
    "without_labels",
]

DIGITS = Path(__file__).parent / "digits"
FORMATS = cast(
    tuple[Format, ...], (idx, cifar, parquet, webdataset, npz, folder)
)  # in order; the first that recognises a source reads it

DAMAGED = "damaged images"


def load(
    source: str | Path,
    split: Split,
    *,
    size: tuple[int, int] | None = None,
    channels: int | None = None,
    limit: int | None = None,
    max_damaged: int | None = None,
    jpeg_quality: int | None = None,
    on_progress: OnProgress | None = None,
) -> LabelledImages:
    """Load one split of a source.

    Args:
        source: see the table above. Splits are files or folders of the format; without any, all images are training
            images.
        split: "train" or "test".
        size: (H, W); the largest centred crop of that aspect ratio is resized with a Lanczos filter. By default images
            are unchanged and must share one size.
        channels: 1 or 3 converts all images to grey or colour. By default grey if all are grey, else colour.
        limit: largest number of images: the first ones of each class in turn, or at even distances without labels.
        max_damaged: largest number of damaged images to skip. By default the larger of 0.1 % and five, at most a tenth.
        jpeg_quality: 1 to 95; each resized image is compressed as JPEG of that quality (4:2:0) and decoded, so that
            images of several sources share one history of compression.
        on_progress: called during decoding with the number of images done and, if known, the total.

    Returns:
        Images uint8 [N, H, W, C], which may be read-only, and labels; all labels are -1 if the source has none.
        What was not read, and why, stands beside them.

    Raises:
        DataError: if a file or folder, which is named, is missing, empty or damaged, or does not fit the options.
    """
    options = Options(size=size, channels=channels, limit=limit, max_damaged=max_damaged, jpeg_quality=jpeg_quality)
    name, report = _name(source), Report()
    opened = _opened(source, split, limit, report)
    if isinstance(opened, Pixels):
        loaded = _from_pixels(opened, options, report)
    else:
        decoded = cache.fetch(opened, options, lambda store: decode_into(store, opened, options, on_progress))
        found = decoded.findings
        report.extend(found.passed_over)
        report.pass_over(DAMAGED, *found.damaged)
        loaded = LabelledImages(
            decoded.images,
            decoded.labels,
            found.classes or opened.classes,
            damaged=found.damaged,
            text_labels=bool(found.classes),
        )
    named = loaded.classes
    if not _is_hub(source):
        named = named or job.classes(_path(source))
        if limit is None:
            job.note_missing(_path(source), len(loaded) + len(loaded.damaged), report)
    labels, classes = with_names(loaded.labels, named, source=name)
    return dataclasses.replace(
        loaded, labels=labels, classes=classes, name=name, jpeg_quality=jpeg_quality, passed_over=report.passed_over
    )


def has_split(source: str | Path, split: Split) -> bool:
    """Return whether a source has a split; a bare folder of class folders has no test split."""
    if _is_hub(source):
        return hub.has_split(str(source), split)
    path = job.images_folder(_path(source))
    return _format_of(path).has_split(path, split)


def _opened(source: str | Path, split: Split, limit: int | None, report: Report) -> Pixels | ImageFiles:
    """Open a split in its format."""
    if split not in ("train", "test"):
        raise DataError(f"there is no split {split!r}; choose train or test")
    if _is_hub(source):
        return hub.open_split(str(source), split, limit, report)
    path = job.images_folder(_path(source))
    try:
        return _format_of(path).open_split(path, split, limit, report)
    except OSError as error:
        raise DataError(f"{error.filename or path} cannot be read: {error.strerror or error}") from None


def _is_hub(source: str | Path) -> bool:
    return str(source).startswith(hub.PREFIX)


def _path(source: str | Path) -> Path:
    """Return the path of a source."""
    return DIGITS if source == "digits" else Path(source)


def _format_of(path: Path) -> Format:
    """Return the format of a file or folder."""
    if not path.is_dir() and not path.is_file():
        raise DataError(
            f"{path} is not a folder; use `digits` or a folder or file with images, or a name hf:owner/name"
        )
    found = next((known for known in FORMATS if known.recognises(path)), None)
    if found is None:
        raise DataError(
            f"{path} is of no known format; expected a .parquet, a WebDataset .tar or .tar.gz, CIFAR's, or an .npz; "
            "unpack an archive of another kind, and name its folder"
        )
    return found


def _name(source: str | Path) -> str:
    """Return the name of a source, which goes into the run and its card.

    Raises:
        DataError: if it is not printable text in UTF-8.
    """
    name = str(source)
    if not name.isprintable():
        raise DataError(f"{name!a} has a name that is not printable text in UTF-8; rename it, or make a link to it")
    return name


def _from_pixels(pixels: Pixels, options: Options, report: Report) -> LabelledImages:
    """Bring stored pixels to the requested number, size and channels."""
    chosen = limited(pixels.labels, options.limit, report)
    cut = len(chosen) < len(pixels.labels)
    images = pixels.images[chosen] if cut else pixels.images
    as_they_are = options.size in (None, images.shape[1:3]) and options.channels in (None, images.shape[3])
    if not as_they_are or options.jpeg_quality is not None:
        plain = images[..., 0] if images.shape[3] == 1 else images
        images = np.stack(
            [
                fitted(
                    Image.fromarray(image),
                    size=options.size,
                    channels=options.channels,
                    jpeg_quality=options.jpeg_quality,
                )
                for image in plain
            ]
        )
    return LabelledImages(images, pixels.labels[chosen], pixels.classes, text_labels=pixels.texts)
