from __future__ import annotations

import numpy as np
import pytest

from training.data import LabelledImages
from training.errors import DataError
from training.neurons.examples import Examples, halves, in_proportion, of_class


def images(count: int, side: int = 4) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.zeros((count, side, side, 3), np.uint8)


def test_images_of_one_person_are_one_group_on_either_side() -> None:
    names = ["ann", "bob", "ann", "eve"]

    examples = Examples.of(images(4), images(4), identities=(names, ["ann", "x", "y", "z"]))

    assert examples.positives.tolist() == [True] * 4 + [False] * 4
    assert examples.groups[0] == examples.groups[2] == examples.groups[4]
    assert len(set(examples.groups.tolist())) == 6


def test_images_without_names_are_groups_of_their_own() -> None:
    assert len(set(Examples.of(images(5), images(7)).groups.tolist())) == 12


@pytest.mark.parametrize(("shown", "rest"), [(0, 9), (1, 9), (9, 0), (9, 3)])
def test_too_few_images_of_a_side_are_refused(shown: int, rest: int) -> None:
    with pytest.raises(DataError, match="give 4 at least"):
        Examples.of(images(shown), images(rest))


def test_sides_of_different_sizes_are_refused() -> None:
    with pytest.raises(DataError, match="bring them to one size"):
        Examples.of(images(4), images(4, side=5))


def test_a_class_stands_against_all_others() -> None:
    data = LabelledImages(images(12), np.arange(12) % 3, ("cat", "dog", "frog"), "pets")

    assert of_class(data, "dog").positives.sum() == 4
    with pytest.raises(DataError, match="pets has no class 'cow'; its classes are cat, dog, frog"):
        of_class(data, "cow")


def test_images_without_labels_have_no_classes() -> None:
    with pytest.raises(DataError, match="its images have no labels"):
        of_class(LabelledImages(images(9), np.full(9, -1), ()), "cat")


@pytest.mark.parametrize(("shown", "rest"), [(100, 5000), (1000, 500), (400, 648)])
def test_the_most_images_in_the_wanted_proportion_are_kept(shown: int, rest: int) -> None:
    positives = np.repeat([True, False], [shown, rest])

    kept = in_proportion(positives, share=0.648, seed=1)

    assert (~positives[kept]).mean() == pytest.approx(0.648, abs=0.002)
    assert positives[kept].sum() >= shown - 1 or (~positives[kept]).sum() >= rest - 2
    assert len(np.unique(kept)) == len(kept)
    assert not np.array_equal(kept, in_proportion(positives, share=0.648, seed=2))


def test_halves_are_stratified_and_no_group_is_in_both() -> None:
    random = np.random.default_rng(0)
    positives, groups = random.random(600) < 0.35, random.integers(0, 90, 600)

    choosing = halves(positives, groups, seed=1)

    assert not set(groups[choosing].tolist()) & set(groups[~choosing].tolist())
    for side in (positives, ~positives):
        assert side[choosing].sum() == pytest.approx(side[~choosing].sum(), abs=4)
    assert np.array_equal(choosing, halves(positives, groups, seed=1))
    assert not np.array_equal(choosing, halves(positives, groups, seed=2))


def test_positives_of_one_person_cannot_be_divided() -> None:
    examples = Examples.of(images(6), images(9), identities=(["ann"] * 6, None))

    with pytest.raises(DataError, match="the positives are all of one group"):
        halves(examples.positives, examples.groups, seed=1)


def test_crops_follow_the_images_with_their_labels_and_groups() -> None:
    images = np.random.default_rng(1).integers(0, 256, (9, 20, 20, 3), np.uint8)
    images[:, 5:15, 5:15] = 200  # the middle half
    examples = Examples.of(images[:4], images[4:])

    more = examples.also_cropped([0.3])

    assert len(more) == 18
    assert np.array_equal(more.images[:9], images)
    assert np.abs(more.images[9:].astype(int) - 200).max() <= 1
    assert more.positives.tolist() == 2 * examples.positives.tolist()
    assert more.groups.tolist() == 2 * examples.groups.tolist()
