"""Choosing the few images that keep their label, and knowing data again."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from tests.training.fakes import blobs
from training.data import choose_labelled
from training.data.labelled import BETWEEN_LIMIT, BEYOND_LIMIT, limited, with_names
from training.data.report import Report
from training.data.text_labels import NO_NAMES, TextLabels, renumbered
from training.errors import DataError

LABELS = np.array([0, 1, 2, 2, 1, 0, 0, 0, 1, 2, 2, 2], np.int64)


def test_every_class_gets_the_same_number() -> None:
    chosen = choose_labelled(LABELS, count=9, classes=3, seed=1)

    assert len(set(chosen.tolist())) == 9
    assert np.bincount(LABELS[chosen]).tolist() == [3, 3, 3]


def test_the_choice_depends_on_the_seed_alone() -> None:
    many = np.arange(1000, dtype=np.int64) % 10

    one, again, other = (choose_labelled(many, count=50, classes=10, seed=seed) for seed in (1, 1, 2))

    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.parametrize("count", [0, 2, 4])
def test_a_number_that_the_classes_cannot_share_is_refused(count: int) -> None:
    with pytest.raises(DataError, match=f"labels={count} cannot be shared by 3 classes"):
        choose_labelled(LABELS, count=count, classes=3, seed=1)


def test_a_class_with_too_few_images_is_named() -> None:
    with pytest.raises(DataError, match="class 1 has 3 images, but 4 labelled images per class"):
        choose_labelled(LABELS, count=12, classes=3, seed=1)


@pytest.mark.parametrize("wrong", [3, 99, -1])
def test_labels_outside_the_classes_are_refused(wrong: int) -> None:
    labels = np.where(np.arange(len(LABELS)) == 4, wrong, LABELS)

    with pytest.raises(DataError, match=r"labels run from .*, but 3 classes are 0\.\.2"):
        choose_labelled(labels, count=3, classes=3, seed=1)


def test_unlabelled_images_have_none_to_choose() -> None:
    with pytest.raises(DataError, match="the images have no labels"):
        choose_labelled(np.full(9, -1), count=3, classes=0, seed=1)


def test_the_digest_changes_with_pixels_and_labels_and_not_with_the_name() -> None:
    data = blobs()
    relabelled = dataclasses.replace(data, labels=data.labels[::-1].copy())

    assert dataclasses.replace(data, name="other").sha256() == data.sha256()
    assert len({data.sha256(), blobs(seed=1).sha256(), relabelled.sha256()}) == 3


@pytest.mark.parametrize(
    ("labels", "limit", "chosen"),
    [
        ([0, 0, 0, 1, 1, 2], 3, [0, 3, 5]),
        ([2, 1, 0, 0, 0, 0], 4, [0, 1, 2, 3]),
        ([0, 0, 0, 1], 3, [0, 1, 3]),
        (["b", "b", "b", "a"], 2, [0, 3]),
        ([0, 1], 5, [0, 1]),
        ([0, 1], None, [0, 1]),
    ],
)
def test_a_limit_takes_the_first_of_each_class_in_turn(
    labels: list[int | str], limit: int | None, chosen: list[int]
) -> None:
    report = Report()

    assert limited(labels, limit, report).tolist() == chosen
    assert limited(np.array(labels), limit, Report()).tolist() == chosen
    assert [each.reason for each in report.passed_over] == ([BEYOND_LIMIT] if len(chosen) < len(labels) else [])


@pytest.mark.parametrize(
    ("count", "limit", "chosen"), [(10, 3, [0, 3, 6]), (3, 2, [0, 1]), (7, 1, [0]), (3, 3, [0, 1, 2])]
)
def test_a_limit_takes_unlabelled_images_from_everywhere(count: int, limit: int, chosen: list[int]) -> None:
    report = Report()

    assert limited(np.full(count, -1), limit, report).tolist() == chosen
    assert [(each.reason, each.count) for each in report.passed_over] == (
        [(BETWEEN_LIMIT, count - limit)] if limit < count else []
    )


def test_texts_are_classes_in_order_of_their_names() -> None:
    texts, report = TextLabels(), Report()
    numbers = np.array([texts.number(text) for text in ("emu", " cat", "emu", "", "big  cat", "cat")])

    places, classes = texts.finish(report)

    assert classes == ("big cat", "cat", "emu")
    assert renumbered(numbers, places).tolist() == [2, 1, 2, -1, 0, 1]
    assert (len(texts), report.passed_over) == (5, ())


@pytest.mark.parametrize("captions", [[f"image {n}" for n in range(1001)], ["cat", "a cat on a mat, " * 7]])
def test_texts_that_are_too_many_or_too_long_are_captions(captions: list[str]) -> None:
    texts, report = TextLabels(), Report()
    numbers = np.array([texts.number(text) for text in captions])

    places, classes = texts.finish(report)

    assert classes == ()
    assert set(renumbered(numbers, places).tolist()) == {-1}
    (told,) = report.passed_over
    assert (told.reason, told.count, told.first[0]) == (NO_NAMES, len(captions), captions[0])


@pytest.mark.parametrize("name", ["", "new\nline", "caf\udce9", "\x1b[31mred"])
def test_names_that_cannot_be_written_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="has a name that is not printable text in UTF-8"):
        with_names(np.array([0, 1]), ("cat", name), source="zoo")


def test_two_classes_of_one_name_are_refused() -> None:
    with pytest.raises(DataError, match="zoo: two classes are called cat"):
        with_names(np.array([0, 1]), ("cat", "cat"), source="zoo")
