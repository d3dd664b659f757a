"""Shifts, rotations and changes of size."""

from __future__ import annotations

import torch

from training.distortions import distorted
from training.randomness import stream


def dot(*, row: int, column: int, height: int = 21, width: int = 21) -> torch.Tensor:
    """A black image with one bright pixel."""
    image = torch.full((1, 1, height, width), -1.0)
    image[0, 0, row, column] = 1
    return image


def centre(images: torch.Tensor) -> torch.Tensor:
    """Mean place [N, 2] of the brightness, rows and columns."""
    weights = (images[:, 0] + 1).double()
    rows, columns = (torch.arange(side, dtype=torch.float64) for side in images.shape[2:])
    total = weights.sum(dim=(1, 2))
    return torch.stack([(weights.sum(2) @ rows) / total, (weights.sum(1) @ columns) / total], dim=1)


def test_nothing_is_changed_where_nothing_may_be() -> None:
    images = torch.rand(3, 2, 9, 7) * 2 - 1

    found = distorted(images, stream(1, "test"), shift=0, rotation=0, scale=0)

    assert torch.allclose(found, images, atol=1e-5)


def test_an_image_moves_by_at_most_the_shift_in_either_direction_and_another_one_by_another_way() -> None:
    images = dot(row=10, column=10).repeat(200, 1, 1, 1)

    moved = centre(distorted(images, stream(1, "test"), shift=3, rotation=0, scale=0)) - 10

    assert moved.abs().max() <= 3.001
    assert (moved.min(dim=0).values < -2.5).all() and (moved.max(dim=0).values > 2.5).all()
    assert len({tuple(place) for place in moved.tolist()}) == 200


def test_a_rotation_keeps_the_distance_from_the_centre_of_an_oblong_image_too() -> None:
    images = dot(row=10, column=20, width=31).repeat(100, 1, 1, 1)  # 5 px right of the centre

    place = centre(distorted(images, stream(1, "test"), shift=0, rotation=90, scale=0)) - torch.tensor([10.0, 15.0])
    angles = torch.atan2(place[:, 0], place[:, 1]).rad2deg()

    assert torch.allclose(place.norm(dim=1), torch.full((100,), 5.0, dtype=torch.float64), atol=0.3)
    assert angles.abs().max() <= 91 and angles.min() < -70 and angles.max() > 70


def test_a_change_of_size_moves_what_lies_off_the_centre_by_its_share() -> None:
    images = dot(row=10, column=18).repeat(100, 1, 1, 1)  # 8 px right of the centre

    distance = centre(distorted(images, stream(1, "test"), shift=0, rotation=0, scale=0.25))[:, 1] - 10

    assert 5.7 < distance.min() < 6.6 and 9.4 < distance.max() < 10.3


def test_equal_streams_distort_equally() -> None:
    images = torch.rand(4, 1, 8, 8)

    one, same = (distorted(images, stream(2, "test"), shift=2, rotation=9, scale=0.1) for _ in range(2))
    other = distorted(images, stream(3, "test"), shift=2, rotation=9, scale=0.1)

    assert torch.equal(one, same) and not torch.equal(one, other)
