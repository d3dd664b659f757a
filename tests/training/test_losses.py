"""The losses against values worked out by hand, and against the softmax over K+1 classes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from training.losses import feature_matching_loss, supervised_loss, unsupervised_fake_loss, unsupervised_real_loss


def test_supervised_loss_is_minus_the_log_of_the_class_probability() -> None:
    logits = torch.tensor([[math.log(1.0), math.log(3.0)], [math.log(2.0), math.log(2.0)]])

    loss = supervised_loss(logits, torch.tensor([1, 0]))

    assert loss.item() == pytest.approx((-math.log(3 / 4) - math.log(1 / 2)) / 2)


def test_real_loss_is_minus_the_log_of_the_probability_of_being_real() -> None:
    logits = torch.tensor([[math.log(1.0), math.log(2.0)]])  # Z = 3, D = 3/4

    assert unsupervised_real_loss(logits).item() == pytest.approx(-math.log(3 / 4))


def test_fake_loss_is_minus_the_log_of_the_probability_of_being_generated() -> None:
    logits = torch.tensor([[math.log(1.0), math.log(2.0)]])  # 1 - D = 1/4

    assert unsupervised_fake_loss(logits).item() == pytest.approx(-math.log(1 / 4))


@pytest.mark.parametrize("height", [-200.0, 200.0])
def test_losses_stay_finite_for_huge_logits(height: float) -> None:
    logits = torch.full((2, 10), height)

    values = torch.stack(
        [
            supervised_loss(logits, torch.tensor([0, 9])),
            unsupervised_real_loss(logits),
            unsupervised_fake_loss(logits),
        ]
    )

    assert torch.isfinite(values).all()


def explicit_softmax_losses(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The three losses by a softmax over K+1 logits of which the last, for generated images, is 0."""
    log_probabilities = functional.log_softmax(torch.cat([logits, torch.zeros(len(logits), 1)], dim=1), dim=1)
    generated = log_probabilities[:, -1]
    real = torch.log(-torch.expm1(generated))
    labelled = log_probabilities.gather(1, labels[:, None])[:, 0] - real
    return -labelled.mean(), -real.mean(), -generated.mean()


def test_losses_and_gradients_equal_those_of_an_explicit_softmax_with_the_fake_logit_at_zero() -> None:
    torch.manual_seed(0)
    labels = torch.tensor([0, 3, 2, 1, 4, 0])
    ours = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()

    losses = supervised_loss(ours, labels), unsupervised_real_loss(ours), unsupervised_fake_loss(ours)
    expected = explicit_softmax_losses(theirs, labels)

    for loss, wanted in zip(losses, expected, strict=True):
        (gradient,) = torch.autograd.grad(loss, ours, retain_graph=True)
        (wanted_gradient,) = torch.autograd.grad(wanted, theirs, retain_graph=True)
        torch.testing.assert_close(loss, wanted)
        torch.testing.assert_close(gradient, wanted_gradient)


def test_feature_matching_compares_means_and_not_samples() -> None:
    real = torch.tensor([[0.0, 4.0], [2.0, 0.0]])
    fake = torch.tensor([[2.0, 0.0], [0.0, 4.0], [1.0, 2.0]])  # the same means, in other rows and another number

    assert feature_matching_loss(real, fake).item() == 0.0


def test_feature_matching_is_the_mean_squared_difference_of_means() -> None:
    real = torch.tensor([[1.0, 1.0], [3.0, 1.0]])
    fake = torch.tensor([[1.0, 4.0]])

    assert feature_matching_loss(real, fake).item() == pytest.approx((1.0**2 + 3.0**2) / 2)
