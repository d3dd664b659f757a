"""Several sources taken as one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.data.files import pixels
from training.data import LabelledImages, joined, must_have_one_set_of_classes, names_of, without_labels
from training.errors import DataError


def part(name: str, *classes: str, count: int = 4, channels: int = 1) -> LabelledImages:
    """A source whose images show its classes in turn."""
    labels = np.arange(count) % len(classes) if classes else np.full(count, -1)
    return LabelledImages(pixels(count, channels=channels), labels, classes, name, (f"{name}.png is damaged",), 90)


def test_one_source_is_left_as_it_is() -> None:
    only = part("photos", "cat")

    assert joined([only]) is only


def test_sources_of_the_same_classes_keep_their_labels() -> None:
    both = joined([part("here", "cat", "dog"), part("there", "cat", "dog", count=3)])

    assert both.classes == ("cat", "dog")
    assert both.labels.tolist() == [0, 1, 0, 1, 0, 1, 0]
    assert np.array_equal(both.images, np.concatenate([pixels(4), pixels(3)]))
    assert both.damaged == ("here.png is damaged", "there.png is damaged")
    assert both.jpeg_quality == 90


def test_a_source_that_shows_the_first_classes_only_has_them_all() -> None:
    assert joined([part("few", "0", "1"), part("all", "0", "1", "2")]).classes == ("0", "1", "2")


def test_classes_in_another_order_are_matched_by_name() -> None:
    both = joined([part("here", "cat", "dog", "emu"), part("there", "emu", "cat")])

    assert both.classes == ("cat", "dog", "emu")
    assert both.labels.tolist() == [0, 1, 2, 0, 2, 0, 2, 0]


@pytest.mark.parametrize("other", [("dog", "emu"), ()])
def test_sources_of_other_classes_lose_their_labels(other: tuple[str, ...]) -> None:
    both = joined([part("here", "cat", "dog"), part("there", *other)])

    assert both.classes == ()
    assert set(both.labels.tolist()) == {-1}
    assert both.passed_over[-1].reason == "labels, since the sources have other classes"


def test_labels_can_be_left_out() -> None:
    bare = without_labels(part("photos", "cat", "dog"))

    assert (bare.classes, set(bare.labels.tolist()), bare.name) == ((), {-1}, "photos")


def test_the_name_tells_all_sources() -> None:
    both = joined([part("cifar10/"), part("lfw/")])

    assert both.name == "cifar10/ + lfw/"
    assert names_of(both.name) == ["cifar10/", "lfw/"]


def test_images_of_two_shapes_are_refused() -> None:
    with pytest.raises(DataError, match=r"images of there are \[4, 5, 3\] \(H, W, C\), but those of here \[4, 5, 1\]"):
        joined([part("here"), part("there", channels=3)])


def test_labels_that_do_not_go_together_are_refused_where_they_are_needed() -> None:
    must_have_one_set_of_classes([part("here", "cat", "dog"), part("there", "cat", "dog")])
    must_have_one_set_of_classes([part("alone")])

    with pytest.raises(DataError, match="here has 0, 1, 2 and 7 more; there has none; give them one by one"):
        must_have_one_set_of_classes([part("here", *"0123456789"), part("there")])
