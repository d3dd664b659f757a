"""WebDataset tars: one file, a folder of files, or a sample job's output.

The members of a sample are consecutive and share their path up to the first dot of the file name: `000.png` and, for a
label, `000.cls` (a number) or `000.json` with a `label`. Other members are ignored. Splits are files `train*.tar` and
`test*.tar`, or folders; without these, all images are training images. Nothing is unpacked to disk.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from training.data.image import FORMATS, MAX_FILE_BYTES
from training.data.labelled import UNLABELLED, Split
from training.data.splits import ImageFile, ImageFiles
from training.data.tar import read_members
from training.errors import DataError

LABELS = (".cls", ".json")
LABEL_KEYS = ("label", "cls")
MAX_LABEL_BYTES = 2**20  # of a member with a label; larger ones are taken for damage
JOB_FOLDER = "shards"  # below the folder of a job


def recognises(source: Path) -> bool:
    """Return whether a source is a tar, or a folder with tars, a job's tars or splits."""
    if source.is_file():
        return source.suffix == ".tar"
    return any(_tars(folder) for folder in (source, source / JOB_FOLDER, source / "train", source / "test"))


def has_split(source: Path, split: Split) -> bool:
    """Return whether there are tars of a split."""
    return bool(_files_of(source, split))


def open_split(source: Path, split: Split, limit: int | None) -> ImageFiles:
    """Find the tars of a split; they are read while iterating over the images.

    Raises:
        DataError: if there are none.
    """
    paths = _files_of(source, split)
    if not paths:
        raise DataError(f"{source} has no {split}*.tar and no folder `{split}` with tars")
    files = tuple((str(path.relative_to(source)) if source.is_dir() else path.name, path) for path in paths)

    def images() -> Iterator[ImageFile]:
        for name, path in files:
            yield from _images_of(name, path)

    return ImageFiles(str(source), files, images)


def _files_of(source: Path, split: Split) -> list[Path]:
    """Return the tars of a split in the order of their names."""
    if source.is_file():
        return [source] if split == "train" else []
    here = _tars(source)
    named = [path for path in here if path.name.startswith(split)]
    splits = ("train", "test")
    if any(path.name.startswith(splits) for path in here) or any(_tars(source / name) for name in splits):
        return named or _tars(source / split)
    return (here or _tars(source / JOB_FOLDER)) if split == "train" else []


def _tars(folder: Path) -> list[Path]:
    """Return the tars of a folder."""
    return sorted(path for path in folder.glob("*.tar") if path.is_file() and not path.name.startswith("."))


@dataclass(slots=True)
class _Sample:
    """The members of one sample, by their ending."""

    key: str
    members: dict[str, bytes] = field(default_factory=dict)


def _images_of(name: str, path: Path) -> Iterator[ImageFile]:
    """Yield the images of one tar."""
    members = read_members(path, lambda member: _ending(member) in (*FORMATS, *LABELS), max_bytes=MAX_FILE_BYTES)
    found = False
    for key, group in groupby(members, key=lambda member: _key(member[0])):
        sample = _Sample(key)
        for member, content in group:
            if _ending(member) in sample.members:
                raise DataError(f"{path}: {member} is there twice; one sample has one member of each kind")
            sample.members[_ending(member)] = content
        image = _image_of(sample, name, path)
        if image is not None:
            found = True
            yield image
    if not found:
        raise DataError(f"{path} holds no image; expected members that end in {', '.join(FORMATS)}")


def _image_of(sample: _Sample, name: str, path: Path) -> ImageFile | None:
    """Return a sample's image with its label, or None if it has no image."""
    images = [ending for ending in sample.members if ending in FORMATS]
    if len(images) > 1:
        raise DataError(f"{path}: {sample.key} has {len(images)} images ({', '.join(images)}); expected one per sample")
    if not images:
        return None
    member = f"{name}/{sample.key}{images[0]}"
    return ImageFile(member, sample.members[images[0]], (FORMATS[images[0]],), _label_of(sample, path))


def _label_of(sample: _Sample, path: Path) -> int:
    """Return a sample's label; `.cls` takes precedence over `.json`."""
    for ending in LABELS:
        content = sample.members.get(ending)
        if content is None:
            continue
        value = _cls(content) if ending == ".cls" else _json_label(content)
        if value is None or not isinstance(value, int) or isinstance(value, bool):
            raise DataError(f"{path}: {sample.key}{ending} holds no label; expected a number 0, 1, ...")
        if ending == ".cls" or value != UNLABELLED:
            return value
    return UNLABELLED


def _cls(content: bytes) -> int | None:
    """Parse a number, or return None."""
    digits = content.strip()
    return int(digits) if digits.isdigit() and len(digits) < 10 else None


def _json_label(content: bytes) -> object:
    """Return the label that a JSON object holds, `UNLABELLED` if it holds none, None if it is not a JSON object."""
    try:
        values = json.loads(content) if len(content) <= MAX_LABEL_BYTES else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(values, dict):
        return None
    return next((values[key] for key in LABEL_KEYS if key in values), UNLABELLED)


def _key(member: str) -> str:
    """Return a sample's key: its path up to the first dot of the file name."""
    folder, slash, last = member.rpartition("/")
    return folder + slash + last.partition(".")[0]


def _ending(member: str) -> str:
    """Return a member's ending with its dot; empty for hidden files."""
    stem, _, ending = member.rpartition("/")[2].partition(".")
    return f".{ending.lower()}" if stem else ""
