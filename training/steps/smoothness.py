"""Penalties on a classifier that changes quickly: virtual adversarial training, and along the generated manifold."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from training.compute import parallel

Classify = Callable[[Tensor], Tensor]  # images [N, C, H, W] -> logits [N, K], always the same for the same images

PIXEL_RANGE = 2.0  # images lie in [-1, 1], lengths are those of pixels in [0, 1]
PROBE = 0.5  # length of the change at which the slope is taken, before it is followed to the full length
ALONG = 0.01  # length of the change of a latent


def virtual_adversarial_loss(classify: Classify, images: Tensor, noise: torch.Generator, *, length: float) -> Tensor:
    """E KL(p(y | x) || p(y | x + r)) for the r of a given length that changes the classes most.

    Miyato et al. 2017, section 3.3 (arXiv:1704.03976), with one step of power iteration: r is the direction of the
    divergence's gradient at a short random change. No gradient flows through r and p(y | x).

    Args:
        classify: of the classifier, as it is trained: with noise, the same at every call.
        images: [N, C, H, W] in [-1, 1], without labels.
        noise: of the first direction; on the CPU.
        length: of r, for pixels in [0, 1].

    Returns:
        Scalar mean over N, >= 0.
    """
    with torch.no_grad():
        known = functional.log_softmax(classify(images), dim=1)
    drawn = parallel.drawn(lambda shape: torch.randn(tuple(shape), generator=noise), images.shape).to(images.device)
    change = (PIXEL_RANGE * PROBE * _directions(drawn)).requires_grad_()
    (slopes,) = torch.autograd.grad(_divergence(known, classify(images + change)), change)
    return _divergence(known, classify(images + PIXEL_RANGE * length * _directions(slopes)))


def manifold_loss(
    classify: Classify, generate: Callable[[Tensor], Tensor], latents: Tensor, noise: torch.Generator
) -> Tensor:
    """E |f(G(z)) - f(G(z + d))|^2 / |d|^2 for short random d: the squared slope of logits along generated images.

    Lecouat et al. 2018, section 3 (arXiv:1805.08957), whose Omega is not divided by |d|^2 (1e-10 with their |d|). No
    gradient reaches the generator.

    Args:
        classify: of the classifier, as it is trained: with noise, the same at every call.
        generate: of the generator: latents [N, Z] to images, each image of its latent alone.
        latents: [N, Z].
        noise: of the directions; on the CPU.

    Returns:
        Scalar mean over N, >= 0.
    """
    drawn = parallel.drawn(lambda shape: torch.randn(tuple(shape), generator=noise), latents.shape).to(latents.device)
    with torch.no_grad():
        here, there = generate(torch.cat([latents, latents + ALONG * _directions(drawn)])).chunk(2)
    return ((classify(there) - classify(here)) / ALONG).square().sum(dim=1).mean()


def _divergence(known: Tensor, logits: Tensor) -> Tensor:
    """Return the mean over N of KL(p || q) for log p [N, K] and the logits of q [N, K]."""
    return functional.kl_div(functional.log_softmax(logits, dim=1), known, log_target=True, reduction="batchmean")


def _directions(rows: Tensor) -> Tensor:
    """Scale each of [N, ...] to unit length."""
    return functional.normalize(rows.flatten(1), dim=1).view_as(rows)
