"""Places lie inside boxes where the pixels that they stand for do, and as many are taken outside."""

from __future__ import annotations

import numpy as np
from mintage.v1.explanation_pb2 import Box

from service.api.servicers.explanation.places import chosen_places, inside_of
from service.backend.protocol.neurons import UnitShape
from tests.support.formula import GENERATOR, record_of

RECORD = record_of(GENERATOR, "digits")  # 8 x 6 pixels


def test_a_place_lies_inside_if_its_middle_does() -> None:
    inside = inside_of([Box(index=1, left=0, top=2, width=3, height=3)], 2, (8, 6), (4, 3))

    # Rows of two pixels have their middles at 1, 3, 5, 7, columns at 1, 3, 5.
    assert not inside[0].any()
    assert np.argwhere(inside[1]).tolist() == [[1, 0]]


def test_a_box_that_is_too_small_for_any_place_has_the_one_in_its_middle() -> None:
    inside = inside_of([Box(index=0, left=4, top=6, width=1, height=1)], 1, (8, 6), (4, 3))

    assert np.argwhere(inside[0]).tolist() == [[3, 2]]


def test_half_of_the_places_lie_inside_and_whole_images_are_held_out() -> None:
    boxes = [Box(index=index, left=0, top=0, width=2, height=8) for index in range(0, 20, 2)]

    found = chosen_places(boxes, 20, RECORD, UnitShape(3, 4, 3))

    assert found.positive.mean() == 0.5
    assert found.positive[found.held_out].mean() == 0.5
    assert (np.diff(found.places[:, 0]) >= 0).all()
    held = set(found.places[found.held_out, 0].tolist())
    others = set(np.delete(found.places[:, 0], found.held_out).tolist())
    assert held and not held & others
    inside = inside_of(boxes, 20, (8, 6), (4, 3))
    assert (inside[tuple(found.places.T)] == found.positive).all()


def test_of_one_image_some_places_are_held_out() -> None:
    found = chosen_places([Box(index=0, left=0, top=0, width=2, height=8)], 1, RECORD, UnitShape(2, 8, 6))

    assert len(found.places) > len(found.held_out) > 0
    assert found.positive[found.held_out].mean() == 0.5
