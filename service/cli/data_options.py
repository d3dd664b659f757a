"""What the verbs that load images share: the options, the bars while images are decoded, and what is said of them."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.console import errors_console

if TYPE_CHECKING:
    from rich.progress import Progress

    from training.data import LabelledImages, Options, Split

PLAIN_INTERVAL_S = 5.0  # between two lines in a log

SOURCES = (
    "`digits` (ship with Mintage), a folder (of MNIST's IDX files, CIFAR's binary batches, Parquet files, WebDataset "
    "tars, a folder of images a class, or images alone), the output of a sample job, a file (.parquet, .tar, .tar.gz, "
    ".npz), or hf:OWNER/NAME of the Hugging Face hub"
)

SizeOption = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="N|HxW",
        help="Crop images at the centre and resize them to N x N, or to H x W (height x width), px.",
        show_default="as they are",
    ),
]
ChannelsOption = Annotated[
    int | None,
    typer.Option("--channels", metavar="1|3", help="Take images as grey (1) or as colour (3).", show_default="as most"),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        "--limit",
        metavar="N",
        help="At most so many images of each split: the first of each class in turn, or every k-th without labels.",
        show_default="all",
    ),
]
MaxDamagedOption = Annotated[
    int | None,
    typer.Option(
        "--max-damaged",
        metavar="N",
        help="Damaged images to skip at most.",
        show_default="0.1 % or five, at most a tenth",
    ),
]
JpegOption = Annotated[
    int | None,
    typer.Option(
        "--jpeg",
        metavar="Q",
        help="Write every image, at its size, as a JPEG of that quality (1 to 95) and read it again, so that images of "
        "several sources have one history of compression.",
        show_default="as they are",
    ),
]


@dataclass(frozen=True, slots=True)
class Splits:
    """Training images, and test images where the source has some."""

    train: LabelledImages
    test: LabelledImages | None

    def account(self) -> dict[str, Any]:
        """Return what was loaded and what was passed over, as the field `data` of a verb's JSON."""
        from training.data.account import account

        return {"train": account(self.train), "test": None if self.test is None else account(self.test)}


def data_options(
    *,
    size: str | None = None,
    channels: int | None = None,
    limit: int | None = None,
    max_damaged: int | None = None,
    jpeg: int | None = None,
) -> Options:
    """Turn what a person typed into options.

    Raises:
        DataError: if a value is none or out of range.
    """
    from training.data import Options

    shape = None if size is None else _parsed_size(size)
    return Options(size=shape, channels=channels, limit=limit, max_damaged=max_damaged, jpeg_quality=jpeg)


def load_splits(source: str, options: Options, *, progress: Progress | None = None) -> Splits:
    """Load a source's training images and, if it has some, its test images, and print one line about them.

    Args:
        source: as `training.data.load` takes it.
        options: of both splits.
        progress: where to show a bar while images are decoded; None for bars of its own.

    Raises:
        DataError: as `training.data.load` does.
    """
    from training.data import has_split

    with contextlib.nullcontext(progress) if progress is not None else bars() as shown:
        train = _loaded(source, "train", options, progress=shown)
        test = _loaded(source, "test", options, progress=shown) if has_split(source, "test") else None
        _tell(train, test)
    return Splits(train, test) if test is None else _with_the_same_classes(train, test)


def joined_splits(sources: Sequence[Splits]) -> Splits:
    """Put sources together, their training images and the test images of those that have some.

    Raises:
        DataError: as `training.data.joined` does.
    """
    from training.data import joined

    tests = [source.test for source in sources if source.test is not None]
    train = joined([source.train for source in sources])
    return _with_labels_in_both(train, joined(tests)) if tests else Splits(train, None)


def without_labels_of_others(splits: Splits) -> Splits:
    """Take the labels from test images of other classes than the training images, where labels are not learnt."""
    from training.data import common_classes, without_labels

    if splits.test is None or common_classes([splits.train, splits.test]) == splits.train.classes:
        return splits
    return Splits(splits.train, without_labels(splits.test))


def _with_labels_in_both(train: LabelledImages, test: LabelledImages) -> Splits:
    """Take the labels from test images if the training images could not keep theirs."""
    from training.data import without_labels

    return _with_the_same_classes(train, test) if train.classes else Splits(train, without_labels(test))


def _with_the_same_classes(train: LabelledImages, test: LabelledImages) -> Splits:
    """Give a split in which some classes do not occur, for want of images, the classes of the other one."""
    from training.data import common_classes, with_classes

    classes = common_classes([train, test])
    return Splits(with_classes(train, classes), with_classes(test, classes)) if classes else Splits(train, test)


def load_split(source: str, split: Split, options: Options, *, progress: Progress) -> LabelledImages:
    """Load one split and print one line about it; see `load_splits`."""
    images = _loaded(source, split, options, progress=progress)
    _tell(images)
    return images


def _loaded(source: str, split: Split, options: Options, *, progress: Progress) -> LabelledImages:
    """Load one split, and say how far it is."""
    from training.data import load

    return load(
        source,
        split,
        size=options.size,
        channels=options.channels,
        limit=options.limit,
        max_damaged=options.max_damaged,
        jpeg_quality=options.jpeg_quality,
        on_progress=_decoding(progress, f"decoding {source} {split}"),
    )


def _tell(train: LabelledImages, test: LabelledImages | None = None) -> None:
    """Print what was loaded and what was passed over on stderr; of several processes the first does."""
    from training.data.account import line

    if os.environ.get("RANK", "0") == "0":
        typer.echo(line(train, test), err=True)


@contextlib.contextmanager
def bars() -> Iterator[Progress]:
    """Show bars on stderr while there is work, if that is a terminal."""
    from rich import progress

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeRemainingColumn(),
    )
    stderr = errors_console()
    with progress.Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as shown:
        yield shown


def _parsed_size(text: str) -> tuple[int, int]:
    """Read `64`, or `48x64` for height and width."""
    from training.errors import DataError

    found = re.fullmatch(r"(\d{1,5})(?:x(\d{1,5}))?", text.strip().lower())
    if found is None:
        raise DataError(f"--size {text}: expected one number of pixels, such as 64, or height x width, such as 48x64")
    height, width = found.groups()
    return int(height), int(width or height)


def _decoding(progress: Progress, what: str) -> Callable[[int, int | None], None]:
    """Return what moves a bar, which appears with the first images, or else prints a line every few seconds."""
    if progress.disable:
        return _plain_lines(what)
    task = None

    def report(done: int, total: int | None) -> None:
        nonlocal task
        task = progress.add_task(what, total=total) if task is None else task
        progress.update(task, completed=done, total=total)

    return report


def _plain_lines(what: str) -> Callable[[int, int | None], None]:
    """Print a line every few seconds to stderr, none for what takes no longer."""
    last_s = time.monotonic()

    def report(done: int, total: int | None) -> None:
        nonlocal last_s
        if time.monotonic() - last_s < PLAIN_INTERVAL_S:
            return
        last_s = time.monotonic()
        typer.echo(f"{what}: {done:,}{'' if total is None else f' of {total:,}'} images", err=True)

    return report
