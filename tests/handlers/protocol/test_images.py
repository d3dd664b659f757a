"""Pixels and images turn into each other without loss."""

from __future__ import annotations

import numpy as np
import torch

from handlers.protocol.images import from_pixels, to_pixels

CPU = torch.device("cpu")


def test_every_level_survives_the_way_there_and_back() -> None:
    pixels = np.arange(256, dtype=np.uint8).reshape(2, 8, 4, 4)
    images = from_pixels(pixels, CPU)
    assert images.shape == (2, 4, 8, 4) and images.dtype == torch.float32
    assert images.min() == -1 and images.max() == 1
    assert np.array_equal(to_pixels(images), pixels)


def test_channels_move_to_the_end() -> None:
    images = torch.stack([torch.full((2, 3), -1.0), torch.full((2, 3), 1.0)])[None]
    assert np.array_equal(to_pixels(images), np.broadcast_to(np.array([0, 255], np.uint8), (1, 2, 3, 2)))


def test_what_lies_outside_is_clipped_and_the_nearest_level_counts() -> None:
    images = torch.tensor([-3.0, -1.0, -0.999, 0.0, 0.999, 1.0, 3.0]).reshape(1, 1, 1, 7)
    assert to_pixels(images).ravel().tolist() == [0, 0, 0, 128, 255, 255, 255]
