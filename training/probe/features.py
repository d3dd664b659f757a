"""A discriminator's features of images, and the statistics that its batch normalisation is frozen to."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.batches import to_tensor
from training.networks.dcgan import Discriminator
from training.networks.probe import feature_count, probe_features
from training.progress import Report

BATCH = 128  # images, as in the paper's training; statistics are averaged over such batches
CHUNK = 1000  # rows of features that are copied at a time, to bound the memory


@torch.no_grad()
def freeze_statistics(
    discriminator: Discriminator,
    images: NDArray[np.uint8],
    *,
    order: NDArray[np.int64] | None = None,
    report: Report = lambda _: None,
) -> None:
    """Store the mean over batches of the batch statistics of training images, and switch to eval mode.

    Averaged weights need statistics of their own: those gathered in training belong to other weights.

    Args:
        discriminator: unconditional; its buffers are replaced.
        images: uint8 [N, H, W, C]; an incomplete last batch is left out, unless it is the only one.
        order: [N] indices in the order of the batches, by default 0..N-1. Images sorted by class need a random order:
            a batch of one class has different statistics.
        report: called with the number of images just done.
    """
    for module in discriminator.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a plain mean
            module.reset_running_stats()
    discriminator.train()
    order = np.arange(len(images)) if order is None else order
    for rows in _slices(max(len(order) // BATCH * BATCH, min(len(order), BATCH)), BATCH):
        discriminator.feature_maps(_seen_by(discriminator, images[order[rows]]))
        report(rows.stop - rows.start)
    discriminator.eval()


@torch.no_grad()
def pooled_features(
    discriminator: Discriminator,
    images: NDArray[np.uint8],
    *,
    mirror: bool = False,
    order: NDArray[np.int64] | None = None,
    report: Report = lambda _: None,
) -> Tensor:
    """Map images to features.

    Args:
        discriminator: unconditional, in eval mode.
        images: uint8 [N, H, W, C].
        mirror: whether features are means over an image and its mirror image.
        order: [N] indices of images, by default 0..N-1.
        report: called with the number of images just done.

    Returns: float32 [N, F] on the discriminator's device.
    """
    device = next(discriminator.parameters()).device
    order = np.arange(len(images)) if order is None else order
    features = torch.empty(len(order), feature_count(discriminator), device=device)
    for rows in _slices(len(order), BATCH):
        seen = _seen_by(discriminator, images[order[rows]])
        features[rows] = probe_features(discriminator, seen, discriminator.feature_maps(seen), mirror=mirror)
        report(rows.stop - rows.start)
    return features


def centre(features: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract the mean of each feature, in place.

    Args:
        features: [N, F], modified.

    Returns: the means [F] that were subtracted, and the standard deviations [F].
    """
    chunks = [features[rows] for rows in _slices(len(features), CHUNK)]
    mean = torch.stack([chunk.sum(0) for chunk in chunks]).double().sum(0).div(len(features)).to(features.dtype)
    features -= mean
    squares = torch.stack([chunk.square().sum(0) for chunk in chunks]).double().sum(0)
    return mean, squares.div(len(features)).sqrt().to(features.dtype)


def _seen_by(discriminator: Discriminator, images: NDArray[np.uint8]) -> Tensor:
    """Return images float32 [N, C, H, W] in [-1, 1] on the discriminator's device."""
    return to_tensor(images).to(next(discriminator.parameters()).device)


def _slices(count: int, size: int) -> Iterator[slice]:
    """Yield slices of at most `size` that cover `count` rows."""
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
