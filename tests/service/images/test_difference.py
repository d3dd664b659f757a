"""How far images are from those before them."""

from __future__ import annotations

import numpy as np
import pytest

from service.images.difference import BLOCK, rms_differences


def test_the_first_of_all_differs_by_nothing_and_the_others_by_the_root_of_their_mean_square() -> None:
    images = np.zeros((3, 2, 2, 1), np.uint8)
    images[1, 0, 0] = 8
    images[2] = 255
    before = np.full((2, 2, 1), 4, np.uint8)
    assert rms_differences(None, images[:2]) == [0, 4]
    assert rms_differences(before, images) == pytest.approx([4, 4, np.sqrt((247**2 + 3 * 255**2) / 4)])


@pytest.mark.parametrize("pixels", [BLOCK - 1, BLOCK, 3 * BLOCK + 5])
def test_large_images_do_not_overflow(pixels: int) -> None:
    images = np.zeros((2, pixels, 1, 1), np.uint8)
    images[1] = 255
    assert rms_differences(images[1], images) == [255, 255]
