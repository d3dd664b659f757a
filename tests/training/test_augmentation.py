"""What a discriminator sees is changed at random within the published ranges, and gradients pass."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from training.augmentation import POLICIES, augmented

EVERY = "colour,translation,cutout"


def noise(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 64, channels: int = 3, height: int = 32, width: int = 24) -> Tensor:
    return torch.rand(count, channels, height, width, generator=noise(9)) * 2 - 1


def test_nothing_is_changed_without_a_policy() -> None:
    seen = images()
    assert augmented(seen, "no", noise()) is seen


@pytest.mark.parametrize("policy", [*POLICIES, EVERY])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_image_is_changed_in_its_own_way_and_again_in_the_same(policy: str, channels: int) -> None:
    one = images(1, channels).expand(16, -1, -1, -1)
    changed = augmented(one, policy, noise())
    assert changed.shape == one.shape
    assert len({tuple(each.flatten().tolist()) for each in changed}) > 8
    assert torch.equal(changed, augmented(one, policy, noise()))
    assert not torch.equal(changed, augmented(one, policy, noise(1)))


@pytest.mark.parametrize("policy", [*POLICIES, EVERY])
def test_gradients_pass(policy: str) -> None:
    seen = images(8).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: augmented(x, policy, noise())[:, :, ::8, ::8], (seen,), fast_mode=True)


def test_a_translation_moves_an_image_by_an_eighth_of_a_side_at_most() -> None:
    dot = torch.zeros(500, 1, 32, 24)
    dot[:, 0, 16, 12] = 1
    places = augmented(dot, "translation", noise()).nonzero()
    assert len(places) == 500
    assert places[:, 2:].amin(dim=0).tolist() == [12, 9]
    assert places[:, 2:].amax(dim=0).tolist() == [20, 15]


def test_a_translation_shows_grey_where_the_image_ends() -> None:
    moved = augmented(torch.ones(500, 1, 32, 24), "translation", noise())
    shares = moved.mean(dim=(1, 2, 3))
    assert set(moved.flatten().tolist()) == {0.0, 1.0} and shares.max() == 1
    assert shares.min() == 28 * 21 / (32 * 24)


def test_a_cutout_takes_a_square_of_half_the_sides_wherever_its_centre_lies() -> None:
    left = augmented(torch.ones(2000, 1, 32, 24), "cutout", noise())
    gone = (left == 0).sum(dim=(1, 2, 3))
    assert gone.max() == 16 * 12 and gone.min() >= 8 * 6
    assert (left == 0).any(dim=0).all()


def test_colours_stay_within_the_published_ranges() -> None:
    seen = images(500)
    mean = seen.mean(dim=(1, 2, 3))
    changed = augmented(seen, "colour", noise())
    moved = changed.mean(dim=(1, 2, 3)) - mean
    assert -0.5 <= moved.min() < -0.45 and 0.45 < moved.max() <= 0.5
    grey = seen.mean(dim=1) - mean[:, None, None]
    contrast = (changed.mean(dim=1) - changed.mean(dim=(1, 2, 3))[:, None, None]).flatten(1).norm(dim=1)
    contrast /= grey.flatten(1).norm(dim=1)
    assert 0.5 <= contrast.min() < 0.55 and 1.45 < contrast.max() <= 1.5
    hue = (changed - changed.mean(dim=1, keepdim=True)).flatten(1).norm(dim=1) / contrast
    saturation = hue / (seen - seen.mean(dim=1, keepdim=True)).flatten(1).norm(dim=1)
    assert 0 <= saturation.min() < 0.05 and 1.95 < saturation.max() <= 2.0001
