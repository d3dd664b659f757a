"""The Parzen-window log-likelihood, exactly as Goodfellow et al. 2014 measured it (arXiv:1406.2661, section 5).

The density is a mixture of normal distributions of deviation sigma around 10,000 samples; the score is the test images'
mean log-likelihood under it, in nats. Sigma is the best of ten logarithmically spaced values from 0.1 to 1 on the first
1,000 validation images. Pixels lie in [0, 1].

    training, validation = hold_out(images)
    score = parzen_log_likelihood(samples, validation, test)
    ceiling = parzen_log_likelihood(training[:10_000], validation, test)
    absurd = parzen_log_likelihood(centroids(training, 10_000), validation, test)

Theis et al. 2015 (arXiv:1511.01844) show that such estimates should be avoided: in many dimensions they
are far from the true likelihood and rank models wrongly. The score exists only for comparison with the paper's table.
Read it beside two others under the same protocol: that of as many real training images, and that of k-means centres,
which generate nothing and beat real images, as in their table 1.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import ScoreError
from training.scores.distances import Float64s, blocks, squared_distances
from training.scores.kmeans import kmeans_centres

SAMPLES = 10_000  # centres of the density, as in the paper
VALIDATION_IMAGES = 1_000  # for the choice of sigma, as in the paper's code
SIGMAS: tuple[float, ...] = tuple(np.logspace(-1, 0, 10).tolist())  # as in the paper's code

Images = NDArray[np.uint8] | NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ParzenScore:
    """Mean log-likelihood of the test images in nats, and its standard error over them: std (ddof = 0) / sqrt(N)."""

    mean: float
    standard_error: float
    sigma: float
    samples: int
    validation_images: int
    test_images: int
    pixels: int
    reference: str

    def __str__(self) -> str:
        reference = f" of {self.reference}" if self.reference else ""
        return (
            f"Parzen log-likelihood {self.mean:.1f} +- {self.standard_error:.1f} nats ({self.samples:,} samples, "
            f"{self.test_images:,} test images{reference}, sigma {self.sigma:.4f} chosen on {self.validation_images:,} "
            f"validation images, {self.pixels} pixels, not resized)"
        )


def hold_out(images: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Split training images as the paper's code splits MNIST: the last sixth is for validation.

    Returns:
        The others (50,000 of MNIST), and the first 1,000 of the last sixth.
    """
    start = len(images) * 5 // 6
    return images[:start], images[start : start + VALIDATION_IMAGES]


def centroids(
    training: NDArray[np.uint8], most: int, *, seed: int = 0, report: Callable[[int], None] = lambda _: None
) -> Float64s:
    """Return k-means centres of training images, to be scored as if they were samples, Theis et al. 2015, table 1.

    Args:
        training: uint8 [N, ...], N >= 5.
        most: number of centres, such as the number of samples; limited to N / 5, since centres of fewer images would be
            the images themselves.
        seed: of k-means.
        report: called with the number of images just done, N in total.

    Returns:
        Centres [K, D], pixels in [0, 1].

    Raises:
        ScoreError: if there are too few images.
    """
    centres = kmeans_centres(training, min(most, len(training) // 5), seed=seed, report=report)
    scaled: Float64s = np.clip(centres.astype(np.float64) / 255, 0, 1)
    return scaled


def parzen_log_likelihood(
    samples: Images,
    validation: Images,
    test: Images,
    *,
    sigmas: Sequence[float] = SIGMAS,
    reference: str = "",
    report: Callable[[int], None] = lambda _: None,
) -> ParzenScore:
    """Choose sigma on the validation images and score the test images.

    Args:
        samples: [N, ...] generated images, either uint8 or floats in [0, 1]; 10,000 in the paper.
        validation: [V, ...] real images; the first 1,000 of the validation set in the paper.
        test: [T, ...] real images; all 10,000 in the paper.
        sigmas: deviations to choose from, in units of the pixel range.
        reference: name of the test images, for the result.
        report: called with the number of images just done, V + T in total.

    Raises:
        ScoreError: if images are missing, of different sizes, not finite or outside [0, 1], or a sigma is not > 0.
    """
    if not sigmas or min(sigmas) <= 0:
        raise ScoreError(f"expected sigmas > 0, got {list(sigmas)}")
    centres = _rows(samples, "samples")
    held_out, scored = _rows(validation, "validation images"), _rows(test, "test images")
    if not centres.shape[1] == held_out.shape[1] == scored.shape[1]:
        raise ScoreError(
            f"samples have {centres.shape[1]} pixels, validation images {held_out.shape[1]}, test images "
            f"{scored.shape[1]}; all must have the same size"
        )
    choices = log_likelihoods(held_out, centres, sigmas, report=report).mean(axis=1)  # [S]
    sigma = float(sigmas[int(choices.argmax())])
    values = log_likelihoods(scored, centres, [sigma], report=report)[0]  # [T]
    return ParzenScore(
        mean=float(values.mean()),
        standard_error=float(values.std() / math.sqrt(len(values))),
        sigma=sigma,
        samples=len(centres),
        validation_images=len(held_out),
        test_images=len(scored),
        pixels=centres.shape[1],
        reference=reference,
    )


def log_likelihoods(
    images: Float64s, samples: Float64s, sigmas: Sequence[float], *, report: Callable[[int], None] = lambda _: None
) -> Float64s:
    """Return log p(x) in nats of each image under each of several Parzen windows.

    log p(x) = log mean_i exp(-|x - s_i|^2 / (2 sigma^2)) - D log(sigma sqrt(2 pi))

    Args:
        images: [N, D].
        samples: [M, D], the centres s_i.
        sigmas: [S].
        report: called with the number of images just done.

    Returns: [S, N].
    """
    values = np.empty((len(sigmas), len(images)))
    for block in blocks(len(images), len(samples)):
        distances = squared_distances(images[block], samples)  # [B, M]
        nearest = distances.min(axis=1)  # the largest term, factored out so that the sum does not underflow to log 0
        distances -= nearest[:, None]
        for number, sigma in enumerate(sigmas):
            terms = np.exp(distances / (-2 * sigma**2)).mean(axis=1)  # in [1 / M, 1]
            values[number, block] = np.log(terms) - nearest / (2 * sigma**2)
        report(block.stop - block.start)
    for number, sigma in enumerate(sigmas):
        values[number] -= images.shape[1] * math.log(sigma * math.sqrt(2 * math.pi))
    return values


def _rows(images: Images, what: str) -> Float64s:
    """Return images as float64 [N, D] in [0, 1]."""
    if images.ndim < 2 or 0 in images.shape:
        raise ScoreError(f"expected {what} [N, ...] with N >= 1, got {list(images.shape)}")
    rows = images.reshape(len(images), -1).astype(np.float64)
    if images.dtype == np.uint8:
        rows /= 255
    if not np.isfinite(rows).all():
        raise ScoreError(f"{what} hold a pixel that is not finite")
    if rows.min() < 0 or rows.max() > 1:
        raise ScoreError(f"pixels of {what} lie in [{rows.min():g}, {rows.max():g}]; expected uint8, or [0, 1]")
    return rows
