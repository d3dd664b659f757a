"""The losses against values worked out by hand, and against the softmax over K+1 classes."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from training.losses import (
    adversarial_discriminator_loss,
    adversarial_generator_loss,
    conditional_entropy,
    feature_matching_loss,
    gradient_penalty,
    minimax_evidence_loss,
    non_saturating_evidence_loss,
    pull_away_loss,
    supervised_loss,
    unsupervised_fake_loss,
    unsupervised_real_loss,
)


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
            unsupervised_real_loss(logits, target=0.9),
            non_saturating_evidence_loss(logits),
            minimax_evidence_loss(logits),
            conditional_entropy(logits),
            adversarial_discriminator_loss(logits[:, 0], logits[:, 1], target=0.9),
            adversarial_generator_loss(logits[:, 0]),
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


def test_feature_matching_by_absolute_values_is_the_mean_absolute_difference_of_means() -> None:
    real = torch.tensor([[1.0, 1.0], [3.0, 1.0]])
    fake = torch.tensor([[1.0, 4.0]])

    assert feature_matching_loss(real, fake, distance="absolute").item() == pytest.approx((1.0 + 3.0) / 2)


def test_discriminator_loss_is_half_the_cross_entropy_of_both_kinds() -> None:
    real, fake = torch.tensor([0.3, -2.0]), torch.tensor([1.0, 0.5, -4.0])

    loss = adversarial_discriminator_loss(real, fake)

    on_real = functional.binary_cross_entropy_with_logits(real, torch.ones(2))
    on_fake = functional.binary_cross_entropy_with_logits(fake, torch.zeros(3))
    torch.testing.assert_close(loss, 0.5 * (on_real + on_fake))


def test_the_penalty_is_the_mean_squared_slope_at_real_images() -> None:
    weights = torch.tensor([3.0, -4.0])
    images = torch.randn(5, 2, requires_grad=True)

    loss = gradient_penalty(images @ weights, images, 2.0)

    assert loss.item() == pytest.approx(0.5 * (2.0 / 2) * 25)


def test_the_penalty_makes_a_discriminator_less_steep() -> None:
    weights = torch.tensor([3.0, -4.0], requires_grad=True)
    images = torch.randn(5, 2, requires_grad=True)

    (slope,) = torch.autograd.grad(gradient_penalty(images @ weights, images, 2.0), weights)

    torch.testing.assert_close(slope, weights.detach())  # of |w|^2 / 2


def test_smoothing_changes_the_target_of_real_images_alone() -> None:
    real, fake = torch.tensor([0.3, -2.0]), torch.tensor([1.0, 0.5, -4.0])

    loss = adversarial_discriminator_loss(real, fake, target=0.9)

    on_real = functional.binary_cross_entropy_with_logits(real, torch.full((2,), 0.9))
    on_fake = functional.binary_cross_entropy_with_logits(fake, torch.zeros(3))
    torch.testing.assert_close(loss, 0.5 * (on_real + on_fake))


@pytest.mark.parametrize(("real_share", "target"), [(0.5, 1.0), (0.5, 0.9), (0.2, 0.9), (0.8, 0.75)])
def test_the_best_discriminator_is_the_target_times_the_share_of_real_images(real_share: float, target: float) -> None:
    best = target * real_share  # a p_data / (p_data + p_generated) at one place x
    logit = torch.tensor([math.log(best / (1 - best))], dtype=torch.float64, requires_grad=True)

    nothing = torch.zeros(1, dtype=torch.float64)
    at_nothing = math.log(2) / 2
    on_real = adversarial_discriminator_loss(logit, nothing, target=target) - at_nothing
    on_fake = adversarial_discriminator_loss(nothing, logit, target=target) - at_nothing
    (gradient,) = torch.autograd.grad(real_share * on_real + (1 - real_share) * on_fake, logit)

    assert gradient.item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("real_share", "target"), [(0.5, 1.0), (0.5, 0.9), (0.2, 0.9), (0.8, 0.75)])
def test_the_best_evidence_is_the_target_times_the_share_of_real_images(real_share: float, target: float) -> None:
    best = target * real_share
    height = math.log(best / (1 - best)) - math.log(4)  # of 4 equal logits, so that Z / (Z + 1) is best
    logits = torch.full((1, 4), height, dtype=torch.float64, requires_grad=True)

    loss = real_share * unsupervised_real_loss(logits, target=target)
    loss = loss + (1 - real_share) * unsupervised_fake_loss(logits)
    (gradient,) = torch.autograd.grad(loss, logits)

    torch.testing.assert_close(gradient, torch.zeros(1, 4, dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("target", [0.0, 0.5, 1.1])
def test_targets_that_no_smoothing_needs_are_refused(target: float) -> None:
    with pytest.raises(ValueError, match=r"0\.5 < target <= 1"):
        adversarial_discriminator_loss(torch.zeros(1), torch.zeros(1), target=target)
    with pytest.raises(ValueError, match=r"0\.5 < target <= 1"):
        unsupervised_real_loss(torch.zeros(1, 2), target=target)


def test_generator_loss_is_minus_the_log_of_the_probability_of_being_real() -> None:
    assert adversarial_generator_loss(torch.tensor([math.log(3.0)])).item() == pytest.approx(-math.log(3 / 4))


def test_evidence_losses_are_those_of_the_discriminator_turned_round() -> None:
    logits = torch.tensor([[math.log(1.0), math.log(2.0)]])  # D = 3/4

    assert non_saturating_evidence_loss(logits).item() == pytest.approx(-math.log(3 / 4))
    assert minimax_evidence_loss(logits).item() == pytest.approx(math.log(1 / 4))


def test_only_the_minimax_loss_saturates_where_the_discriminator_is_sure() -> None:
    logits = torch.full((1, 10), -20.0, requires_grad=True)

    (steep,) = torch.autograd.grad(non_saturating_evidence_loss(logits), logits)
    (flat,) = torch.autograd.grad(minimax_evidence_loss(logits), logits)

    assert steep.sum().item() == pytest.approx(-1, abs=1e-6)
    assert abs(flat.sum().item()) < 1e-6


def test_both_evidence_losses_push_towards_more_evidence() -> None:
    logits = torch.randn(4, 3, requires_grad=True)

    for loss in (non_saturating_evidence_loss(logits), minimax_evidence_loss(logits)):
        (gradient,) = torch.autograd.grad(loss, logits)
        assert (gradient < 0).all()


def test_conditional_entropy_is_that_of_the_real_classes() -> None:
    logits = torch.tensor([[math.log(1.0), math.log(3.0)], [5.0, 5.0]])
    quarters = -(math.log(1 / 4) + 3 * math.log(3 / 4)) / 4

    assert conditional_entropy(logits).item() == pytest.approx((quarters + math.log(2)) / 2)


def test_pull_away_is_the_mean_squared_cosine_of_two_images() -> None:
    features = torch.tensor([[2.0, 0.0], [3.0, 3.0], [0.0, 0.5]])  # 45 degrees between the second and the others

    assert pull_away_loss(features).item() == pytest.approx((0.5 + 0.5 + 0.0) / 3)


def test_pulling_away_ends_with_features_at_right_angles() -> None:
    features = torch.tensor([[1.0, 0.1], [1.0, 0.3]], requires_grad=True)

    for _ in range(200):
        (slope,) = torch.autograd.grad(pull_away_loss(features), features)
        features = (features - 0.1 * slope).detach().requires_grad_()

    assert pull_away_loss(features).item() == pytest.approx(0, abs=1e-3)
