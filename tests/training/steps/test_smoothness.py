"""Penalties on a classifier that changes quickly, against classifiers and generators whose slope is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from training.steps.smoothness import manifold_loss, virtual_adversarial_loss

SLOPE = torch.tensor([[0.3, -0.1, 0.2, 0.4], [-0.2, 0.1, 0.3, -0.4]])  # of two logits in four pixels
IMAGE = torch.tensor([[0.2, -0.4, 0.1, 0.0]]).view(1, 1, 2, 2)


def linear(images: Tensor) -> Tensor:
    return images.flatten(1) @ SLOPE.T


def divergence(changed: Tensor) -> float:
    """KL of the classes of `IMAGE` from those of a changed image."""
    before, after = (functional.log_softmax(linear(images), dim=1) for images in (IMAGE, changed))
    return (before.exp() * (before - after)).sum().item()


def test_the_worst_change_of_a_linear_classifier_lies_along_the_difference_of_its_logits() -> None:
    steepest = functional.normalize(SLOPE[0] - SLOPE[1], dim=0).view(1, 1, 2, 2)

    found = virtual_adversarial_loss(linear, IMAGE, torch.Generator().manual_seed(0), length=0.7)

    # Either way along it; a length of 0.7 for pixels in [0, 1] is 1.4 for images in [-1, 1].
    expected = [divergence(IMAGE + 1.4 * sign * steepest) for sign in (1, -1)]
    assert min(abs(found.item() / each - 1) for each in expected) < 1e-4


def test_no_change_of_the_same_length_is_much_worse_than_the_one_found() -> None:
    generator = torch.Generator().manual_seed(1)
    found = virtual_adversarial_loss(linear, IMAGE, generator, length=0.2).item()

    tried = [0.4 * functional.normalize(torch.randn(1, 4, generator=generator)).view(1, 1, 2, 2) for _ in range(200)]

    assert max(divergence(IMAGE + change) for change in tried) < 1.3 * found  # it may lie on the steeper side


def test_a_constant_classifier_has_no_divergence_and_no_slope() -> None:
    images = torch.zeros(3, 1, 2, 2)

    def constant(images: Tensor) -> Tensor:
        return 0 * images.flatten(1)[:, :2] + torch.tensor([1.0, 2.0])

    assert virtual_adversarial_loss(constant, images, torch.Generator(), length=2.0).item() == pytest.approx(0)
    assert manifold_loss(constant, lambda z: z.view(-1, 1, 2, 2), torch.zeros(3, 4), torch.Generator()).item() == 0


def test_the_slope_along_the_manifold_is_that_of_the_chained_maps() -> None:
    stretch = torch.diag(torch.tensor([3.0, 4.0]))  # f(G(z)) = stretch z: |slope along d|^2 = |stretch d|^2
    latents = torch.zeros(4000, 2)

    found = manifold_loss(
        lambda images: images.flatten(1), lambda z: (z @ stretch).view(-1, 1, 1, 2), latents, torch.Generator()
    )

    # The mean over directions of a plane: (3^2 + 4^2) / 2, up to the 4,000 drawn.
    assert found.item() == pytest.approx(12.5, rel=0.02)


def test_the_generator_gets_no_gradient() -> None:
    weight = torch.ones(1, requires_grad=True)

    loss = manifold_loss(
        lambda images: images.flatten(1) * weight,
        lambda z: (z * weight).view(-1, 1, 1, 2),
        torch.ones(4, 2),
        torch.Generator(),
    )
    (slope,) = torch.autograd.grad(loss, weight)

    assert slope.item() == pytest.approx(2 * loss.item(), rel=1e-4)  # of the classifier's weight^2 alone
