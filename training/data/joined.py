"""Joins several sources into one."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from training.data.labelled import UNLABELLED, LabelledImages, common_classes, with_classes
from training.data.report import Report
from training.errors import DataError

UNSHARED = "labels, since the sources have other classes"
BETWEEN = " + "  # joins the names of the sources
SHOWN_CLASSES = 3  # classes shown in an error


def joined(parts: Sequence[LabelledImages]) -> LabelledImages:
    """Concatenate the images of several sources in memory.

    Labels are kept if one source has the classes of all, by their names; otherwise no image has a label.

    Raises:
        DataError: if the images of two sources differ in size or channels.
    """
    if len(parts) == 1:
        return parts[0]
    _must_have_one_shape(parts)
    classes = common_classes(parts)
    parts = [with_classes(part, classes) for part in parts] if classes else parts
    labels = np.concatenate([part.labels for part in parts])
    report = Report()
    report.extend(itertools.chain.from_iterable(part.passed_over for part in parts))
    if not classes:
        report.pass_over(UNSHARED, count=int((labels >= 0).sum()))
    return LabelledImages(
        np.concatenate([part.images for part in parts]),
        labels if classes else np.full_like(labels, UNLABELLED),
        classes,
        BETWEEN.join(part.name for part in parts),
        tuple(itertools.chain.from_iterable(part.damaged for part in parts)),
        parts[0].jpeg_quality,
        report.passed_over,
        any(part.text_labels for part in parts) and bool(classes),
    )


def must_have_one_set_of_classes(parts: Sequence[LabelledImages]) -> None:
    """Refuse sources with incompatible labels.

    Raises:
        DataError: if two sources have different classes, or one has none.
    """
    if len(parts) > 1 and not common_classes(parts):
        told = "; ".join(f"{part.name} has {_shown(part.classes)}" for part in parts)
        raise DataError(
            f"labels are needed, and the sources do not have the same classes: {told}; give them one by one"
        )


def without_labels(images: LabelledImages) -> LabelledImages:
    """Return the images without labels."""
    return dataclasses.replace(images, labels=np.full_like(images.labels, UNLABELLED), classes=())


def names_of(name: str) -> list[str]:
    """Return the names of the sources of joined images."""
    return name.split(BETWEEN)


def _must_have_one_shape(parts: Sequence[LabelledImages]) -> None:
    for part in parts[1:]:
        if part.shape != parts[0].shape:
            raise DataError(
                f"images of {part.name} are {list(part.shape)} (H, W, C), but those of {parts[0].name} "
                f"{list(parts[0].shape)}; ask for one size and one number of channels"
            )


def _shown(classes: tuple[str, ...]) -> str:
    """Write the first classes."""
    if not classes:
        return "none"
    return ", ".join(classes[:SHOWN_CLASSES]) + (
        f" and {len(classes) - 3} more" if len(classes) > SHOWN_CLASSES else ""
    )
