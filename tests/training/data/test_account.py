"""What is said of a load."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.training.data.files import pixels
from training.data import LabelledImages
from training.data.account import account, empty_classes, line, must_have_images_of_every_class
from training.data.report import PassedOver, Report
from training.errors import DataError

LABELLED = LabelledImages(
    pixels(3, channels=3),
    np.array([0, 3, 0]),
    ("cat", "dog", "emu", "fox"),
    "zoo/",
    passed_over=(PassedOver("hidden files", 1, (".x",)), PassedOver("damaged images", 4, ("a", "b", "c"))),
)
BARE = LabelledImages(pixels(1), np.array([-1]), (), "zoo/", passed_over=(PassedOver("hidden files", 2, (".y", ".z")),))


def test_one_line_says_what_was_loaded_and_what_was_not() -> None:
    assert line(LABELLED) == (
        "zoo/: 3 images, 4x5 colour, 4 classes (cat, dog, emu, ...), no image of dog, emu; "
        "passed over hidden files: 1 (.x); damaged images: 4 (a, b, c, ...)"
    )
    assert line(dataclasses.replace(BARE, passed_over=())) == "zoo/: 1 image, 4x5 grey, no labels"


def test_both_splits_share_the_line() -> None:
    assert line(dataclasses.replace(LABELLED, classes=LABELLED.classes), BARE).startswith(
        "zoo/: 3 images, 1 to test with, 4x5 colour and 4x5 grey, 4 classes"
    )
    assert "hidden files: 3 (.x, .y, .z)" in line(LABELLED, BARE)


def test_programs_get_the_same_as_fields() -> None:
    assert account(LABELLED) == {
        "source": "zoo/",
        "images": 3,
        "labels": 3,
        "height": 4,
        "width": 5,
        "channels": 3,
        "classes": ["cat", "dog", "emu", "fox"],
        "text_labels": False,
        "empty_classes": ["dog", "emu"],
        "passed_over": [
            {"reason": "hidden files", "count": 1, "first": [".x"]},
            {"reason": "damaged images", "count": 4, "first": ["a", "b", "c"]},
        ],
    }
    assert account(BARE)["labels"] == 0
    assert empty_classes(BARE) == ()


def test_classes_without_images_are_refused_where_they_are_learnt() -> None:
    must_have_images_of_every_class(BARE)

    with pytest.raises(DataError, match="zoo/ has no image of dog, emu, which would be learnt from nothing; add some"):
        must_have_images_of_every_class(LABELLED)


def test_a_report_counts_by_reason_and_keeps_the_first_names() -> None:
    report = Report()
    for name in ("1", "2\n", "caf\udce9", "4"):
        report.pass_over("odd", name)
    report.pass_over("nothing")
    report.pass_over("many", count=7)
    report.extend([PassedOver("many", 2, ("last",))])

    assert report.passed_over == (PassedOver("odd", 4, ("1", r"2\n", r"caf\udce9")), PassedOver("many", 9, ("last",)))
