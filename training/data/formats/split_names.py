"""Which split a file or folder belongs to, by its name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePath

from training.data.labelled import Split
from training.data.report import Report
from training.errors import DataError

NAMES: dict[str, Split] = {"train": "train", "training": "train", "test": "test", "testing": "test"}
OTHERS = ("val", "valid", "validation", "dev")  # splits that are neither trained on nor tested with
UNREAD = "{} of the split {}, which is not used unless it is named with --data"
BEGINNING = re.compile(r"(train|test)")  # as in trainA, of CycleGAN's sets


def split_of_folder(name: str) -> str | None:
    """Return the split that a folder's name says: train, test, or one of `OTHERS`."""
    lowered = name.lower()
    return NAMES.get(lowered, lowered if lowered in OTHERS else None)


def split_of_file(name: str) -> str | None:
    """Return the split that a file's name says: one of its words, or how it begins."""
    words = re.split(r"[^a-z]+", name.lower())
    said = next((split for split in map(split_of_folder, words) if split is not None), None)
    begins = BEGINNING.match(name.lower())
    return said or (begins[1] if begins else None)


def by_split(source: Path, paths: Sequence[Path], *, what: str) -> dict[str, list[Path]]:
    """Sort files below a folder into splits by their names, else by the names of their folders.

    Returns:
        Paths per split; without any split, all are training files.

    Raises:
        DataError: if some files belong to a split and others to none.
    """
    found: dict[str, list[Path]] = {}
    for path in paths:
        found.setdefault(_split_of(path.relative_to(source)) or "", []).append(path)
    without = found.pop("", [])
    if without and found:
        named = next(iter(found.values()))[0].relative_to(source)
        raise DataError(
            f"{source}: {len(without)} {what}, such as {without[0].relative_to(source)}, belong to no split, but "
            f"{named} does; give every file a name with train or test in it, or name one file or folder with --data"
        )
    return {"train": without} if without else found


def pass_over_others(source: Path, found: dict[str, list[Path]], report: Report, *, what: str) -> None:
    """Note the files of splits that are neither train nor test."""
    for split in OTHERS:
        names = [str(path.relative_to(source)) for path in found.get(split, [])]
        report.pass_over(UNREAD.format(what, split), *names)


def one_folder(source: Path, paths: Iterable[Path], *, what: str) -> None:
    """Refuse files from several folders that are no splits, such as several configurations of one repository.

    Raises:
        DataError: naming the folders, of which one can be given.
    """
    outer = sorted({_without_split(path.relative_to(source)) for path in paths})
    if len(outer) > 1:
        shown = ", ".join(str(source / folder) for folder in outer[:5])
        raise DataError(f"{source} has {what} in {len(outer)} folders ({shown}); name one of them with --data")


def _split_of(path: PurePath) -> str | None:
    said = split_of_file(path.name)
    return said or next((split for split in map(split_of_folder, reversed(path.parent.parts)) if split), None)


def _without_split(path: PurePath) -> PurePath:
    """Return the folder of a file, without those that only name a split."""
    return PurePath(*(part for part in path.parent.parts if split_of_folder(part) is None))
