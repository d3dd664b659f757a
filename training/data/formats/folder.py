"""A folder of images: one subfolder per class (`data/cat/1.png`, `data/dog/2.jpg`), or no classes and labels.

The images of a class may lie in further folders. Splits are outer folders called train or training, and test or
testing, in any case of letters; without these, all images are training images. What is an image is told by its ending,
else by its content; the content alone decides its format. Where a `metadata.jsonl` describes the images, as Hugging
Face's imagefolder and our own sample jobs write it, labels are its `label`, and folders are no classes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from training.data.formats.listing import (
    LOOPS,
    entries,
    images_in,
    is_hidden,
    looks_like_image,
    no_images,
)
from training.data.formats.split_names import OTHERS, UNREAD, split_of_folder
from training.data.labelled import MAX_CLASSES, UNLABELLED, Split, check_names, limited
from training.data.report import Report
from training.data.splits import ImageFile, ImageFiles
from training.errors import DataError

METADATA_FILE = "metadata.jsonl"
SHARD = re.compile(r"[0-9]{5}-of-[0-9]{5}")  # a folder of a sample job, which is no class


def recognises(source: Path) -> bool:
    """Return whether this is a folder; its content is checked when it is opened."""
    return source.is_dir()


def has_split(source: Path, split: Split) -> bool:
    """Return whether the split's folder exists; without split folders, all images are training images."""
    return split in (_split_folders(source) or {"train": source})


def open_split(source: Path, split: Split, limit: int | None, report: Report) -> ImageFiles:
    """List the images of a split.

    Classes are numbered in order of their names; images are sorted by path within a class. A limit takes the first
    images of each class in turn, or some at even distances without labels.

    Raises:
        DataError: if there are no images, a class is empty or has no printable name, images lie beside the class
            folders, or folders that are no splits beside those that are.
    """
    folder = _split_folder(source, split, report)
    folders, files = entries(folder, report)
    known = folder / METADATA_FILE
    classes: tuple[str, ...] = ()
    if known in files or (folders and all(SHARD.fullmatch(path.name) for path in folders)):
        listed = _described(folder, known if known in files else None, report)
    elif folders:
        beside = images_in(files, report)
        if beside:
            raise DataError(
                f"{folder} has {len(beside)} images, such as {beside[0].name}, beside folders of classes, such as "
                f"{folders[0].name}; put all images into folders, or into none"
            )
        classes = tuple(path.name for path in folders)
        check_names(classes, source=str(folder))
        for each in folders:
            _check_no_splits(each)
        listed = [(label, path) for label, each in enumerate(folders) for path in _images_of_class(each, report)]
    else:
        listed = [(UNLABELLED, path) for path in images_in(files, report)]
    if not listed:
        raise no_images(folder)
    chosen = [listed[place] for place in limited([label for label, _ in listed], limit, report).tolist()]
    named = tuple((str(path.relative_to(source)), path) for _, path in chosen)

    def images(_: Report) -> Iterator[ImageFile]:
        for (name, path), (label, _) in zip(named, chosen, strict=True):
            yield ImageFile(name, path, label)

    determining = ((METADATA_FILE, known),) if known in files else ()
    return ImageFiles(str(source), (*named, *determining), images, classes, len(named))


def _described(folder: Path, metadata: Path | None, report: Report) -> list[tuple[int | str, Path]]:
    """Return the labels and paths of images whose labels stand in a file, not in the names of folders."""
    labels = {} if metadata is None else _labels_of(metadata)
    listed: list[tuple[int | str, Path]] = []
    for path in _images_of_class(folder, report, besides=metadata):
        name = path.relative_to(folder).as_posix()
        listed.append((labels.pop(name, UNLABELLED), path))
    if labels:
        raise DataError(
            f"{metadata} describes {len(labels)} images that are not there, such as {next(iter(labels))!a}; copy the "
            "folder again, or correct the file"
        )
    return listed


def _labels_of(metadata: Path) -> dict[str, int | str]:
    """Return labels by file name, of a metadata.jsonl as Hugging Face's imagefolder has it."""
    labels: dict[str, int | str] = {}
    for number, line in enumerate(metadata.read_bytes().splitlines(), start=1):
        try:
            values = json.loads(line)
            name, label = values["file_name"], values.get("label")
        except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
            raise DataError(f"{metadata}, line {number}, is no JSON object with a `file_name`") from None
        label = UNLABELLED if label is None else label
        known = isinstance(label, str) or (type(label) is int and UNLABELLED <= label < MAX_CLASSES)
        if not isinstance(name, str) or not known:
            raise DataError(
                f"{metadata}, line {number}, has the label {label!a}; expected a number 0, 1, ... or a name"
            )
        labels[name] = label
    return labels


def _check_no_splits(folder: Path) -> None:
    """Refuse the folder of a class that holds splits: it is a data set of its own."""
    splits = _split_folders(folder)
    if splits:
        raise DataError(
            f"{folder} holds the folder {next(iter(splits.values())).name}: if it is a data set and not a class, name "
            "it with --data"
        )


def _split_folder(source: Path, split: Split, report: Report) -> Path:
    """Return the folder that holds a split, and note the splits that are not used."""
    splits = _split_folders(source)
    if split not in (splits or ("train",)):
        raise DataError(f"{source} has no {split} folder")
    if not splits:
        return source
    _check_nothing_beside(source, splits)
    for name in OTHERS:
        if name in splits:
            report.pass_over(UNREAD.format("images", name), count=sum(map(_is_image_by_name, splits[name].rglob("*"))))
    return splits[split]


def _split_folders(source: Path) -> dict[str, Path]:
    """Return the folders of a source that are splits; none if no folder is called train or test."""
    found: dict[str, Path] = {}
    for path in sorted(source.iterdir()):
        said = split_of_folder(path.name) if path.is_dir() else None
        if said in found:
            raise DataError(
                f"{source} has the folders {found[said].name} and {path.name}; name one of them with --data"
            )
        if said is not None:
            found[said] = path
    return found if "train" in found or "test" in found else {}


def _check_nothing_beside(source: Path, splits: dict[str, Path]) -> None:
    """Refuse folders and images beside those of the splits: they would be left unread."""
    for path in sorted(source.iterdir()):
        if is_hidden(path.name) or path in splits.values():
            continue
        if path.is_dir() or looks_like_image(path):
            split = next(iter(splits.values())).name
            raise DataError(
                f"{source} has {path.name} beside the folder {split}: if {split} is a class, put the folders of all "
                f"classes into one called train; otherwise move {path.name} away, or name what is meant with --data"
            )


def _images_of_class(folder: Path, report: Report, *, besides: Path | None = None) -> list[Path]:
    """Return the images of a class, those in further folders included; DataError if there are none.

    A file besides them that is read otherwise is not passed over.
    """
    found, waiting, seen = [], [folder], set()
    while waiting:
        current = waiting.pop()
        if current.resolve() in seen:
            report.pass_over(LOOPS, current.name)
            continue
        seen.add(current.resolve())
        folders, files = entries(current, report)
        found += images_in([path for path in files if path != besides], report)
        waiting += folders
    if not found:
        raise DataError(
            f"{no_images(folder)}; a folder here is a class: fill it, remove it, or name another with --data"
        )
    return sorted(found)


def _is_image_by_name(path: Path) -> bool:
    return looks_like_image(path) if not path.is_dir() else False
