"""The losses of the papers, one function per equation. Inputs are logits or features, never probabilities."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from training.compute import parallel
from training.latents import VARIANCES
from training.recipes import LatentDistribution


def supervised_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of labelled images among the K real classes, Salimans et al. 2016, section 5 (arXiv:1606.03498).

    L_supervised = -E log p(y | x, y < K+1) = E [logsumexp_k l_k(x) - l_y(x)].

    Args:
        logits: [N, K] class logits of labelled images, any range.
        labels: [N] int64 classes in 0..K-1.

    Returns:
        Scalar mean over N, >= 0.
    """
    return (torch.logsumexp(logits, dim=1) - logits.gather(1, labels[:, None])[:, 0]).mean()


def unsupervised_real_loss(logits: Tensor, *, target: float = 1.0) -> Tensor:
    """-E [a log D(x) + (1 - a) log(1 - D(x))] over real images, Salimans et al. 2016, section 5 (arXiv:1606.03498).

    With the generated class's logit fixed at 0, D(x) = Z(x) / (Z(x) + 1) where Z = sum_k exp l_k, so that the term of
    one image is softplus(z) - a z with z = logsumexp_k l_k(x). The paper's a is 1, which leaves -E log D(x). A smaller
    one is the one-sided label smoothing of its section 3.4: the best D becomes a p_data / (p_data + p_generated).

    Args:
        logits: [N, K] class logits of real images, any range.
        target: a, what D should say of a real image, in (0.5, 1]; generated images keep the target 0.

    Returns:
        Scalar mean over N, >= 0.
    """
    evidence = torch.logsumexp(logits, dim=1)
    return (functional.softplus(evidence) - _real_target(target) * evidence).mean()


def unsupervised_fake_loss(logits: Tensor) -> Tensor:
    """-E log(1 - D(G(z))) over generated images, Salimans et al. 2016, section 5 (arXiv:1606.03498).

    With the generated class's logit fixed at 0, -log(1 - D) = softplus(z) with z = logsumexp_k l_k.

    Args:
        logits: [N, K] class logits of generated images, any range.

    Returns:
        Scalar mean over N, >= 0.
    """
    return functional.softplus(torch.logsumexp(logits, dim=1)).mean()


def non_saturating_evidence_loss(logits: Tensor) -> Tensor:
    """-E log D(G(z)) for the generator of the K+1 GAN, after Goodfellow et al. 2014, section 3 (arXiv:1406.2661).

    With z = logsumexp_k l_k it is softplus(z) - z, whose slope in z is D - 1: steepest where D is sure that the image
    is generated.

    Args:
        logits: [N, K] class logits of generated images, any range.

    Returns:
        Scalar mean over N, >= 0.
    """
    return unsupervised_real_loss(logits)


def minimax_evidence_loss(logits: Tensor) -> Tensor:
    """E log(1 - D(G(z))) for the generator of the K+1 GAN, as in the code of Salimans et al. 2016, section 3.2.

    With z = logsumexp_k l_k it is -softplus(z), whose slope in z is -D. It saturates: the slope vanishes where D
    is sure that the image is generated. The published code pairs it with minibatch discrimination and three generator
    steps per discriminator step (arXiv:1606.03498).

    Args:
        logits: [N, K] class logits of generated images, any range.

    Returns:
        Scalar mean over N, <= 0.
    """
    return -unsupervised_fake_loss(logits)


def adversarial_discriminator_loss(real: Tensor, fake: Tensor, *, target: float = 1.0) -> Tensor:
    """The discriminator's cross-entropy over real and generated images, Goodfellow et al. 2014, eq. 1.

    0.5 (-E [a log D(x) + (1 - a) log(1 - D(x))] - E log(1 - D(G(z)))) with D = sigmoid(logit); the half is that of the
    authors' code (arXiv:1406.2661). There a = 1. A smaller one is the one-sided label smoothing of Salimans et al.
    2016, section 3.4 (arXiv:1606.03498), with the optimum D = a p_data / (p_data + p_generated). Generated images keep
    the target 0: with a target b the optimum's numerator would be a p_data + b p_generated, and where p_data is small
    the generator would have no incentive to move.

    Args:
        real: [N] logits of real images, any range.
        fake: [M] logits of generated images, any range.
        target: a, what D should say of a real image, in (0.5, 1].

    Returns:
        Scalar mean over N and M, >= 0.
    """
    on_real = functional.softplus(real) - _real_target(target) * real
    return 0.5 * (on_real.mean() + functional.softplus(fake).mean())


def adversarial_generator_loss(fake: Tensor) -> Tensor:
    """-E log D(G(z)), the generator's non-saturating loss, Goodfellow et al. 2014, section 3 (arXiv:1406.2661).

    The minimax game of eq. 1 would minimise E log(1 - D(G(z))) instead. That has the same fixed point, but almost no
    gradient early on, when D rejects generated images with confidence.

    Args:
        fake: [M] logits of generated images, any range.

    Returns:
        Scalar mean over M, >= 0.
    """
    return functional.softplus(-fake).mean()


def gradient_penalty(real: Tensor, images: Tensor, weight: float) -> Tensor:
    """R1, how steep the discriminator is at real images, Mescheder et al. 2018, section 4.1, eq. 9 (arXiv:1801.04406).

    0.5 gamma/2 E |grad_x logit(x)|^2, the half as in `adversarial_discriminator_loss`. A discriminator that tells real
    from generated images without fail grows steeper and steeper, and the generator learns nothing from it.

    Args:
        real: [N] logits of the images, any range.
        images: [N, ...] images that the logits were computed from; they require gradients.
        weight: gamma, from 0.

    Returns:
        Scalar mean over N, >= 0, which can be differentiated.
    """
    (slopes,) = torch.autograd.grad(real.sum(), images, create_graph=True)
    return 0.25 * weight * slopes.square().flatten(1).sum(dim=1).mean()


def feature_matching_loss(
    real: Tensor, fake: Tensor, *, distance: Literal["squared", "absolute"] = "squared"
) -> Tensor:
    """Distance between the batch means of features, Salimans et al. 2016, section 3.1 (arXiv:1606.03498).

    The mean over F of (E_x f(x) - E_z f(G(z)))^2: the paper writes the sum over F, its published code takes the mean,
    and for the convolutional networks the absolute value in place of the square.

    Args:
        real: [N, F] features of real images, before any noise.
        fake: [M, F] features of generated images.
        distance: the paper's square, or the absolute value.

    Returns:
        Scalar, >= 0.
    """
    difference = parallel.global_mean(real.mean(dim=0) - fake.mean(dim=0))
    return (difference.square() if distance == "squared" else difference.abs()).mean()


def conditional_entropy(logits: Tensor) -> Tensor:
    """E H[p(y | x, y < K+1)], how unsure a classifier is of unlabelled images, in nats.

    A term of the discriminator in Springenberg 2016, section 2.2 (arXiv:1511.06390), and Dai et al. 2017, eq. 6
    (arXiv:1705.09783): without it nothing asks unlabelled images to be far from the boundary between two classes.

    Args:
        logits: [N, K] class logits of unlabelled images, any range.

    Returns:
        Scalar mean over N, from 0 to log K.
    """
    log_probabilities = functional.log_softmax(logits, dim=1)
    return -(log_probabilities.exp() * log_probabilities).sum(dim=1).mean()


def pull_away_loss(features: Tensor) -> Tensor:
    """The mean squared cosine between the features of two generated images.

    The pull-away term of Zhao et al. 2016, section 2.4 (arXiv:1609.03126), which Dai et al. 2017, section 4
    (arXiv:1705.09783), add to feature matching: generated images should differ, so that they surround the data.

    Args:
        features: [N, F] of N > 1 generated images.

    Returns:
        Scalar mean over N (N - 1) ordered pairs, in [0, 1].
    """
    rows = functional.normalize(parallel.global_rows(features), dim=1)
    pairs = len(rows) * (len(rows) - 1)
    cosines: Tensor = rows @ rows.T
    return (cosines.square().sum() - cosines.diagonal().square().sum()) / pairs


def distillation_loss(logits: Tensor, targets: Tensor, *, temperature: float) -> Tensor:
    """T^2 times the cross-entropy between a teacher's and a student's softened probabilities.

    Hinton et al. 2015, section 2 (arXiv:1503.02531): T^2 keeps the gradients' size whatever the temperature.

    Args:
        logits: [N, K] of the student, before the temperature.
        targets: [N, K] probabilities of the teacher at the same temperature; rows sum to 1.
        temperature: T > 0.

    Returns:
        Scalar mean over N, >= 0.
    """
    return temperature**2 * functional.cross_entropy(logits / temperature, targets)


def _real_target(target: float) -> float:
    """Return the target for real images, if it lies in (0.5, 1]."""
    if not 0.5 < target <= 1:
        raise ValueError(f"the target for real images is {target}, expected 0.5 < target <= 1: 1, or 0.9 to smooth")
    return target


def latent_loss(guessed: Tensor, latents: Tensor, *, distribution: LatentDistribution) -> Tensor:
    """Mean squared distance of guessed latents from the true ones, as a share of the latents' variance.

    Args:
        guessed: [N, Z].
        latents: [N, Z].
        distribution: of the latents; guessing its mean gives 1.
    Returns: scalar.
    """
    return functional.mse_loss(guessed, latents) / VARIANCES[distribution]
