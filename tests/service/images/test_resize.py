"""Images of one model as another takes them."""

from __future__ import annotations

import numpy as np

from service.images.resize import converted


def test_images_are_resized_as_training_data_is_and_keep_their_centre() -> None:
    wide = np.zeros((2, 8, 16, 3), np.uint8)
    wide[:, :, 4:12] = [200, 100, 0]  # the centred square
    found = converted(wide, 4, 4, 3)
    assert found.shape == (2, 4, 4, 3)
    assert np.abs(found[:, 1:3, 1:3].astype(int) - [200, 100, 0]).max() <= 2  # the filter rings a little at the edge


def test_colour_becomes_grey_and_grey_becomes_colour() -> None:
    red = np.zeros((1, 2, 2, 3), np.uint8)
    red[..., 0] = 255
    assert converted(red, 2, 2, 1).tolist() == [[[[76], [76]], [[76], [76]]]]
    assert converted(red[..., :1], 2, 2, 3).tolist() == np.full((1, 2, 2, 3), 255).tolist()


def test_images_that_fit_are_left_alone() -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 1), dtype=np.uint8)
    assert (converted(images, 5, 4, 1) == images).all()
