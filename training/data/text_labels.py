"""Labels that are text: each text is a class, in order of the names, if they are few and short enough to be names."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from training.data.labelled import UNLABELLED
from training.data.report import Report

MAX_NAMES = 1000  # different texts; more are captions, or names of single images
MAX_LENGTH = 100  # characters of a name
NO_NAMES = f"text labels, taken for captions, since over {MAX_NAMES:,} differ or one has over {MAX_LENGTH} characters"


class TextLabels:
    """Numbers texts as they come up; `finish` puts the classes in order."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._first: list[str] = []
        self._count = 0
        self._names = True

    def __len__(self) -> int:
        return self._count

    def number(self, text: str) -> int:
        """Return the number of a text for the time being; `UNLABELLED` for an empty one. Runs of spaces are one."""
        name = " ".join(text.split())
        if not name:
            return UNLABELLED
        self._count += 1
        self._first += [name[:MAX_LENGTH]] if len(self._first) < 3 else []
        self._names = self._names and len(name) <= MAX_LENGTH
        number = self._numbers.setdefault(name, len(self._numbers)) if self._names else UNLABELLED
        self._names = self._names and len(self._numbers) <= MAX_NAMES
        return number

    def finish(self, report: Report) -> tuple[NDArray[np.int64], tuple[str, ...]]:
        """Return the final label of each number, and the names of the classes in order.

        Without classes, all labels are `UNLABELLED`, and the report is told.
        """
        if not self._names:
            report.pass_over(NO_NAMES, *self._first, count=self._count)
            return np.full(len(self._numbers), UNLABELLED, np.int64), ()
        names = sorted(self._numbers)
        places = np.empty(len(names), np.int64)
        for place, name in enumerate(names):
            places[self._numbers[name]] = place
        return places, tuple(names)


def renumbered(labels: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return labels [n] with each number replaced by its final label; `UNLABELLED` stays."""
    if not len(places):
        return labels
    return np.where(labels >= 0, places[np.maximum(labels, 0)], UNLABELLED)
