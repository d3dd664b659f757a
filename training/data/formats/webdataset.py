"""WebDataset tars: one file, a folder of files, or a sample job's output.

The members of a sample share their path up to the ending: `000.png` and, for a label, `000.cls` or `000.json` with a
`label`, anywhere in the same tar. A label is a number, or the name of a class. Dots may belong to the path
(`v1.5.png`); where `000.png` is there, `000.seg.png` is a further member of that sample. Splits are told by the names
of the files or of their folders; without these, all images are training images. Tars may be gzipped. Nothing is
unpacked to disk.

A tar is read twice: names and labels first, then the images.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from training.data.formats.listing import TARS, is_hidden, packed_below
from training.data.formats.split_names import by_split, one_folder, pass_over_others
from training.data.formats.tar import read_members
from training.data.image import ENDINGS, FORMATS_SHOWN, MAX_FILE_BYTES, UNREAD_ENDINGS
from training.data.labelled import UNLABELLED, Split, limited
from training.data.report import Report
from training.data.splits import ImageFile, ImageFiles
from training.errors import DataError

IMAGES = (*ENDINGS, *UNREAD_ENDINGS)  # images of formats that are not read count as damaged
NUMBERS = (".cls", ".class")  # members that hold a label and nothing else
LABELS = (*NUMBERS, ".json")
LABEL_KEYS = ("label", "cls")
MAX_LABEL_BYTES = 2**20  # of a member with a label; larger ones are taken for damage
FURTHER = "further members of samples"
OTHERS = "members that are neither images nor labels"
HIDDEN = "hidden members"
FOLDERS = "folders in tars, which are no classes"
WITHOUT = ".json members without a label"


def recognises(source: Path) -> bool:
    """Return whether a source is a tar, or a folder with tars."""
    if source.is_file():
        return source.name.lower().endswith(TARS)
    return bool(packed_below(source).tars)


def has_split(source: Path, split: Split) -> bool:
    """Return whether there are tars of a split."""
    return split in _files_of(source, Report())


def open_split(source: Path, split: Split, limit: int | None, report: Report) -> ImageFiles:
    """Find the tars of a split; they are read while iterating over the images.

    Raises:
        DataError: if there are none, or it is not clear which are meant.
    """
    paths = _files_of(source, report).get(split)
    if not paths:
        raise DataError(f"{source} has no {split}*.tar and no folder `{split}` with tars")
    files = tuple((str(path.relative_to(source)) if source.is_dir() else path.name, path) for path in paths)

    def images(report: Report) -> Iterator[ImageFile]:
        tars = [_Tar(name, path, report) for name, path in files]
        labels = [label for each in tars for label in each.images.values()]
        chosen = np.zeros(len(labels), np.bool_)
        chosen[limited(labels, limit, report)] = True
        flags = iter(chosen.tolist())
        for each in tars:
            yield from each.read({name for name in each.images if next(flags)})

    return ImageFiles(str(source), files, images)


def _files_of(source: Path, report: Report) -> dict[str, list[Path]]:
    """Return the tars of each split in the order of their names."""
    if source.is_file():
        return {"train": [source]}
    found = packed_below(source)
    found.check_alone(source)
    one_folder(source, found.tars, what="tars")
    splits = by_split(source, found.tars, what="tars")
    pass_over_others(source, splits, report, what="tars")
    return splits


@dataclass(slots=True)
class _Names:
    """The names of a tar's members, and the labels that it holds by name."""

    images: list[str] = field(default_factory=list)
    labels: dict[str, int | str | None] = field(default_factory=dict)


class _Tar:
    """One tar whose names and labels have been read.

    Attributes:
        images: the label of each image by its member's name, in order.
    """

    def __init__(self, name: str, path: Path, report: Report) -> None:
        self._name, self._path = name, path
        found = self._scan(report)
        plain = {_key(member) for member in found.images if not _dotted(member)}
        own = [member for member in found.images if not _is_further(member, plain)]
        if not own:
            advice = "; name CIFAR's archive itself with --data" if path.name.startswith("cifar") else ""
            raise DataError(f"{path} holds no image; expected {FORMATS_SHOWN} files as members{advice}")
        report.pass_over(FURTHER, *(member for member in found.images if _is_further(member, plain)))
        labels = self._labels(found.labels, plain, report)
        folders = sorted({member.rpartition("/")[0] for member in own})
        if not labels and len(folders) > 1:
            report.pass_over(FOLDERS, *folders)
        self.images = {member: labels.pop(_key(member), UNLABELLED) for member in own}
        self._check_keys(own)
        if labels:
            raise DataError(
                f"{path}: {len(labels)} labels belong to no image, such as that of {next(iter(labels))}; a label has "
                "the path of its image and the ending .cls or .json, in the same tar"
            )

    def read(self, chosen: set[str]) -> Iterator[ImageFile]:
        """Read the chosen images, in order."""
        for member, content in read_members(self._path, chosen.__contains__, max_bytes=MAX_FILE_BYTES):
            yield ImageFile(f"{self._name}/{member}", content, self.images[member])

    def _scan(self, report: Report) -> _Names:
        """Read the names of all members, and the labels."""
        found, seen = _Names(), set()

        def wanted(member: str) -> bool:
            if member in seen:
                raise DataError(f"{self._path}: {member} is there twice; give every sample a name of its own")
            seen.add(member)
            ending = _ending(member)
            if is_hidden(member.rpartition("/")[2]):
                report.pass_over(HIDDEN, member)
            elif ending in IMAGES:
                found.images.append(member)
            elif ending not in LABELS:
                report.pass_over(OTHERS, member)
            return ending in LABELS and not is_hidden(member.rpartition("/")[2])

        for member, content in read_members(self._path, wanted, max_bytes=MAX_FILE_BYTES, report=report):
            found.labels[member] = _cls(content) if _ending(member) in NUMBERS else _json_label(content)
        return found

    def _labels(self, found: dict[str, int | str | None], plain: set[str], report: Report) -> dict[str, int | str]:
        """Return labels by the key of their sample; `.cls` takes precedence over `.json`."""
        labels: dict[str, int | str] = {}
        for member in sorted(found, key=lambda member: _ending(member) == ".json"):
            label = found[member]
            if _is_further(member, plain):
                report.pass_over(FURTHER, member)
            elif label == UNLABELLED:
                report.pass_over(WITHOUT, member)
            elif label is None:
                raise DataError(f"{self._path}: {member} holds no label; expected a number 0, 1, ... or a name")
            else:
                labels.setdefault(_key(member), label)
        return labels

    def _check_keys(self, images: list[str]) -> None:
        """Refuse two images in one sample."""
        for key, group in itertools.groupby(sorted(images, key=_key), _key):
            several = [_ending(member) for member in group]
            if len(several) > 1:
                raise DataError(
                    f"{self._path}: {key} has {len(several)} images ({', '.join(several)}); expected one per sample"
                )


def _cls(content: bytes) -> int | str | None:
    """Return a number or a name, or None for anything else, such as -1."""
    try:
        text = content.decode().strip()
        float(text)
    except UnicodeDecodeError:
        return None
    except ValueError:
        return text or None
    return int(text) if text.isdecimal() and len(text) < 10 else None


def _json_label(content: bytes) -> int | str | None:
    """Return the label that JSON holds, `UNLABELLED` if it holds none, None if it is damaged, or no number or name."""
    try:
        values = json.loads(content) if len(content) <= MAX_LABEL_BYTES else ...
    except (ValueError, RecursionError):
        return None
    if values is ...:
        return None
    if not isinstance(values, dict):
        return UNLABELLED
    value = next((values[key] for key in LABEL_KEYS if values.get(key) is not None), UNLABELLED)
    return value if isinstance(value, int | str) and not isinstance(value, bool) else None


def _ending(member: str) -> str:
    """Return a member's ending with its dot, in small letters; empty without one."""
    stem, dot, ending = member.rpartition("/")[2].rpartition(".")
    return f".{ending.lower()}" if dot and stem else ""


def _key(member: str) -> str:
    """Return a sample's key: the path of its member without the ending."""
    return member.rpartition(".")[0]


def _dotted(member: str) -> bool:
    """Return whether a name has a dot before that of its ending."""
    return "." in _key(member).rpartition("/")[2]


def _is_further(member: str, plain: set[str]) -> bool:
    """Return whether a member such as `000.seg.png` belongs to the sample of `000.png`; numbers are part of a name."""
    folder, slash, last = _key(member).rpartition("/")
    stem, dot, word = last.partition(".")
    return bool(dot) and not word[:1].isdigit() and folder + slash + stem in plain
