"""The losses of the papers, one function an equation. Inputs are logits or features, never probabilities."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


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


def unsupervised_real_loss(logits: Tensor) -> Tensor:
    """-E log D(x) over unlabelled real images, Salimans et al. 2016, section 5 (arXiv:1606.03498).

    With the generated class's logit fixed at 0, D(x) = Z(x) / (Z(x) + 1) where Z = sum_k exp l_k, so
    -log D(x) = softplus(z) - z with z = logsumexp_k l_k(x).

    Args:
        logits: [N, K] class logits of real images, any range.

    Returns:
        Scalar mean over N, >= 0.
    """
    evidence = torch.logsumexp(logits, dim=1)
    return (functional.softplus(evidence) - evidence).mean()


def unsupervised_fake_loss(logits: Tensor) -> Tensor:
    """-E log(1 - D(G(z))) over generated images, Salimans et al. 2016, section 5 (arXiv:1606.03498).

    With the generated class's logit fixed at 0, -log(1 - D) = softplus(z) with z = logsumexp_k l_k.

    Args:
        logits: [N, K] class logits of generated images, any range.

    Returns:
        Scalar mean over N, >= 0.
    """
    return functional.softplus(torch.logsumexp(logits, dim=1)).mean()


def feature_matching_loss(real: Tensor, fake: Tensor) -> Tensor:
    """Squared distance between the batch means of features, Salimans et al. 2016, section 3.1 (arXiv:1606.03498).

    The mean over F of (E_x f(x) - E_z f(G(z)))^2: the paper writes the sum over F, its published code takes the mean.

    Args:
        real: [N, F] features of real images, before any noise.
        fake: [M, F] features of generated images.

    Returns:
        Scalar, >= 0.
    """
    return (real.mean(dim=0) - fake.mean(dim=0)).square().mean()
