from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from training.neurons.invariance import changed, changes, chosen_positives, response_curves

SIDE = 16


def marked(down: int, across: int, *, width: int = SIDE) -> Tensor:
    """Return an image [1, 1, 16, width] that is black but for a block of 2 x 2 pixels."""
    image = torch.full((1, 1, SIDE, width), -1.0)
    image[:, :, down : down + 2, across : across + 2] = 1
    return image


@pytest.mark.parametrize(
    ("name", "amount", "place"),
    [
        ("translation across, px", 3, (3, 7)),
        ("translation down, px", -2, (1, 4)),
        ("rotation, degrees", 90, (10, 3)),  # anticlockwise: what was up left of the middle comes down left
        ("rotation, degrees", 0, (3, 4)),
        ("scale", 1, (3, 4)),
    ],
)
def test_what_an_image_shows_goes_where_it_should(name: str, amount: float, place: tuple[int, int]) -> None:
    assert torch.allclose(changed(marked(3, 4), name, amount), marked(*place), atol=1e-4)


def test_a_larger_scale_shows_a_larger_block_about_the_middle() -> None:
    larger = changed(marked(7, 7), "scale", 2.0)

    assert (larger[0, 0, 6:10, 6:10] > 0).all()
    assert (larger > 0).sum() == 16


def test_wide_images_are_turned_without_being_sheared() -> None:
    turned = changed(marked(7, 15, width=32), "rotation, degrees", 90)

    assert torch.allclose(turned, marked(7, 15, width=32), atol=1e-4)


def test_curves_are_one_where_images_are_as_they_are_and_fall_with_the_distance() -> None:
    images = np.zeros((4, SIDE, SIDE, 1), np.uint8)
    images[:, 6:10, 6:10] = 255

    def brightness_of_the_middle(batch: Tensor) -> Tensor:
        return batch[:, 0, 6:10, 6:10].mean((1, 2))

    curves = response_curves(brightness_of_the_middle, images, distractors=-1.0)

    assert set(curves) == set(changes(SIDE))
    for curve in curves.values():
        at = int(np.abs(curve.amounts - (curve.amounts[0] > 0)).argmin())
        assert curve.mean[at] == pytest.approx(1, abs=1e-4)
        assert curve.deviation == pytest.approx(0)
    moved = curves["translation across, px"]
    assert moved.mean[[0, -1]] == pytest.approx(0, abs=1e-4)
    assert (np.diff(moved.mean[:9]) >= 0).all()


def test_a_unit_that_is_low_for_the_concept_has_the_same_curves() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 1), dtype=np.uint8)

    up = response_curves(lambda batch: batch[:, 0, 4, 4], images, distractors=-0.5)
    down = response_curves(lambda batch: -batch[:, 0, 4, 4], images, sign=-1, distractors=0.5)

    for name, curve in up.items():
        np.testing.assert_allclose(curve.mean, down[name].mean, rtol=1e-6)


def test_positives_are_chosen_at_random_by_seed() -> None:
    positives = np.arange(100) % 2 == 0

    chosen = chosen_positives(positives, seed=1)

    assert len(chosen) == 10
    assert positives[chosen].all()
    assert not np.array_equal(chosen, chosen_positives(positives, seed=2))
