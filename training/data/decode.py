"""Decodes all images of a split in order, in a few threads; damaged ones are reported and skipped, up to a limit.

Memory is bounded: only a few bundles of images are in flight, and finished images go to a store.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from training.data.image import DamagedImageError, Decoded, decoded
from training.data.labelled import MAX_CLASSES, UNLABELLED
from training.data.options import MAX_SKIPPED, Options
from training.data.report import Report, printable
from training.data.splits import ImageFile, ImageFiles
from training.data.store import Findings
from training.data.text_labels import TextLabels
from training.errors import DataError

BUNDLE = 32  # images per task of a thread
MAX_THREADS = 8
SHOWN = 3  # damaged images named in an error

OnProgress = Callable[[int, int | None], None]  # images done, total if known
Outcome = Decoded | str  # or the image's error

FRAMES = "frames or pages after the first, of images"


class Store(Protocol):
    """A destination of decoded images."""

    def add(self, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
        """Append images [n, H, W, C], always of one shape, with labels [n]."""
        ...

    def clear(self) -> None:
        """Discard all images."""
        ...

    def renumber(self, places: NDArray[np.int64]) -> None:
        """Replace each label by its place."""
        ...


class _ColourFoundError(Exception):
    """Raised when the first colour image follows grey ones."""


def decode_into(store: Store, files: ImageFiles, options: Options, on_progress: OnProgress | None = None) -> Findings:
    """Decode a split into a store.

    Labels that are text become classes in order of their names.

    Returns:
        The damaged images that were skipped, what else was passed over, and the classes of labels that are text.

    Raises:
        DataError: if there is no image, too many are damaged, two differ in size, a label is out of range, or some
            labels are text and others numbers.
    """
    try:
        return _Decoding(store, files, options, channels=options.channels).run(on_progress)
    except _ColourFoundError:
        store.clear()
        return _Decoding(store, files, options, channels=3).run(on_progress)


def check_damage(damaged: tuple[str, ...], count: int, files: ImageFiles, options: Options) -> None:
    """Raise DataError with the first names if too many of `count` images are damaged."""
    allowed = options.allowed_damage(count)
    if len(damaged) > allowed:
        shown = "; ".join(damaged[:SHOWN]) + ("; ..." if len(damaged) > SHOWN else "")
        raise DataError(
            f"{files.source}: {len(damaged)} of {count} images are damaged and at most {allowed} are skipped "
            f"({shown}); repair or remove them, or allow more with --max-damaged"
        )


class _Decoding:
    """One pass over a split; the first decodable image determines the shape of all."""

    def __init__(self, store: Store, files: ImageFiles, options: Options, *, channels: int | None) -> None:
        self._store, self._files, self._options = store, files, options
        self._channels = channels
        self._first: tuple[str, tuple[int, ...]] | None = None
        self._damaged: list[str] = []
        self._report = Report()
        self._texts, self._number = TextLabels(), UNLABELLED
        self._seen = 0

    def run(self, on_progress: OnProgress | None) -> Findings:
        """Decode the split; see `decode_into`."""
        for files, outcomes in self._outcomes():
            self._keep(files, outcomes)
            if on_progress is not None:
                on_progress(self._seen, self._files.count)
        if not self._seen:
            raise DataError(f"{self._files.source} holds no image")
        damaged = tuple(self._damaged)
        check_damage(damaged, self._seen, self._files, self._options)
        if self._first is None:
            raise DataError(f"{self._files.source}: every image is damaged ({'; '.join(damaged[:SHOWN])})")
        classes: tuple[str, ...] = ()
        if len(self._texts):
            places, classes = self._texts.finish(self._report)
            self._store.renumber(places)
        return Findings(damaged, self._report.passed_over, classes)

    def _outcomes(self) -> Iterator[tuple[list[ImageFile], list[Outcome]]]:
        """Decode bundles in threads and yield them in order; Pillow's decoders let other threads run meanwhile."""
        threads = min(MAX_THREADS, os.cpu_count() or 1)
        waiting: deque[tuple[list[ImageFile], Future[list[Outcome]]]] = deque()
        with ThreadPoolExecutor(threads) as pool:
            for bundle in _bundles(self._files.images(self._report)):
                waiting.append((bundle, pool.submit(self._decode, bundle)))
                if len(waiting) > threads:
                    files, future = waiting.popleft()
                    yield files, future.result()
            while waiting:
                files, future = waiting.popleft()
                yield files, future.result()

    def _decode(self, bundle: list[ImageFile]) -> list[Outcome]:
        """Decode one bundle, in a thread."""
        size, quality = self._options.size, self._options.jpeg_quality
        return [_outcome(file, size=size, channels=self._channels, jpeg_quality=quality) for file in bundle]

    def _keep(self, files: list[ImageFile], outcomes: list[Outcome]) -> None:
        """Store the decoded images of a bundle and record the damaged ones."""
        images, labels = [], []
        for file, outcome in zip(files, outcomes, strict=True):
            if isinstance(outcome, str):
                self._note(f"{printable(file.name)} {outcome}")
                continue
            if outcome.frames > 1:
                self._report.pass_over(FRAMES, file.name)
            images.append(self._shaped(file.name, outcome.pixels))
            labels.append(self._label(file))
        self._seen += len(files)
        if images:
            self._store.add(np.stack(images), np.array(labels, np.int64))

    def _note(self, damage: str) -> None:
        """Record a damaged image; stop at once if their names would fill the memory."""
        self._damaged.append(damage)
        if len(self._damaged) > MAX_SKIPPED:
            check_damage(tuple(self._damaged), self._seen + BUNDLE, self._files, self._options)

    def _shaped(self, name: str, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the image with the channels of the first one; its size must match."""
        if self._first is None:
            self._first = name, image.shape
        first, (height, width, channels) = self._first
        if image.shape[:2] != (height, width):
            raise DataError(
                f"{self._files.source}: {name} is {image.shape[1]}x{image.shape[0]}, not {width}x{height} like "
                f"{first}; resize the images to one size, or ask for one with --size"
            )
        if image.shape[2] > channels:
            raise _ColourFoundError
        return image if image.shape[2] == channels else np.repeat(image, channels, axis=2)

    def _label(self, file: ImageFile) -> int:
        """Check a label, and number one that is text."""
        if isinstance(file.label, str):
            number = self._texts.number(file.label)
        else:
            number = file.label
            self._number = max(self._number, number)
        if len(self._texts) and self._number != UNLABELLED:
            raise DataError(
                f"{self._files.source}: {file.name} has the label {file.label!a}, but some labels are text and others "
                "numbers; write all of them as one or the other"
            )
        if isinstance(file.label, str):
            return number
        if not UNLABELLED <= file.label < MAX_CLASSES:
            raise DataError(f"{self._files.source}: {file.name} has the label {file.label}, not 0 to {MAX_CLASSES - 1}")
        return file.label


def _outcome(
    file: ImageFile, *, size: tuple[int, int] | None, channels: int | None, jpeg_quality: int | None
) -> Outcome:
    """Decode one image, or return its error as text."""
    try:
        return decoded(file, size=size, channels=channels, jpeg_quality=jpeg_quality)
    except DamagedImageError as error:
        return " ".join(str(error).split())


def _bundles(files: Iterator[ImageFile]) -> Iterator[list[ImageFile]]:
    """Group the images of a split into bundles."""
    while bundle := list(itertools.islice(files, BUNDLE)):
        yield bundle
