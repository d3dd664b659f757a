"""What was loaded and what was passed over, as one line for people and as fields for programs."""

from __future__ import annotations

from typing import Any

import numpy as np

from training.data.labelled import LabelledImages
from training.data.report import PassedOver, printable
from training.errors import DataError

SHOWN = 3  # classes and names in the line


def account(images: LabelledImages) -> dict[str, Any]:
    """Return what was loaded as fields for JSON."""
    height, width, channels = images.shape
    return {
        "source": images.name,
        "images": len(images),
        "labels": int((images.labels >= 0).sum()),
        "height": height,
        "width": width,
        "channels": channels,
        "classes": list(images.classes),
        "text_labels": images.text_labels,
        "empty_classes": list(empty_classes(images)),
        "passed_over": [
            {"reason": each.reason, "count": each.count, "first": list(each.first)} for each in images.passed_over
        ],
    }


def line(train: LabelledImages, test: LabelledImages | None = None) -> str:
    """Return one line about the images of a source: number, size, classes, and what was passed over.

    Args:
        train: images of a source.
        test: of the same source, if there are some.
    """
    splits = [train] if test is None else [train, test]
    counts = [f"{len(train):,} image{'' if len(train) == 1 else 's'}"]
    counts += [] if test is None else [f"{len(test):,} to test with"]
    shapes = list(dict.fromkeys(_shape(split) for split in splits))
    parts = [", ".join(counts), " and ".join(shapes), _classes(train)]
    parts += [f"no image of {_listed(empty_classes(train))}"] if empty_classes(train) else []
    passed = _summed([each for split in splits for each in split.passed_over])
    return "; ".join([f"{printable(train.name)}: {', '.join(parts)}", *passed])


def must_have_images_of_every_class(images: LabelledImages) -> None:
    """Refuse classes without images where classes are learnt.

    Raises:
        DataError: naming the classes.
    """
    empty = empty_classes(images)
    if empty:
        raise DataError(
            f"{printable(images.name)} has no image of {_listed(empty)}, which would be learnt from nothing; add some, "
            "raise --limit, or leave the classes out"
        )


def empty_classes(images: LabelledImages) -> tuple[str, ...]:
    """Return the names of the classes without any image."""
    counts = np.bincount(images.labels[images.labels >= 0], minlength=len(images.classes))
    return tuple(name for name, count in zip(images.classes, counts, strict=True) if not count)


def _shape(images: LabelledImages) -> str:
    height, width, channels = images.shape
    return f"{height}x{width} {'grey' if channels == 1 else 'colour'}"


def _classes(images: LabelledImages) -> str:
    if not images.classes:
        return "no labels"
    named = " named by text labels" if images.text_labels else ""
    return f"{len(images.classes)} class{'' if len(images.classes) == 1 else 'es'}{named} ({_listed(images.classes)})"


def _listed(names: tuple[str, ...]) -> str:
    """Write the first names."""
    return ", ".join(names[:SHOWN]) + (", ..." if len(names) > SHOWN else "")


def _summed(passed_over: list[PassedOver]) -> list[str]:
    """Write what was passed over by reason, that of both splits together."""
    counts: dict[str, int] = {}
    first: dict[str, list[str]] = {}
    for each in passed_over:
        counts[each.reason] = counts.get(each.reason, 0) + each.count
        first.setdefault(each.reason, []).extend(each.first)
    told = [_reason(reason, count, tuple(first[reason])) for reason, count in counts.items()]
    return [f"passed over {told[0]}", *told[1:]] if told else []


def _reason(reason: str, count: int, first: tuple[str, ...]) -> str:
    named = ", ".join(first[:SHOWN]) + (", ..." if count > len(first[:SHOWN]) else "")
    return f"{reason}: {count:,}" + (f" ({named})" if first else "")
