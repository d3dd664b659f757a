"""Linear filters made of training images, as controls: the images, their principal components, their k-means centres.

Le et al. 2012, section 4.3, compare with the best of 100,000 linear filters picked from the training set. Such filters
know what the network saw, unlike random ones, and no more than that: a neuron that does not beat them learned nothing
that an average image lacks.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from training.neurons.controls import FILTERS_AT_ONCE, FILTERS_TRIED
from training.neurons.linear import kmeans
from training.neurons.search import Labels, search
from training.neurons.table import COMPONENTS, IMAGES, MEANS, Row, row_of
from training.progress import BeginTask

COMPONENTS_TRIED = 64  # the strongest principal components
MEANS_TRIED = 100  # centres of k-means

Float32s = NDArray[np.float32]


def image_filters(
    seen: Float32s, training: Float32s, labels: Labels, *, count: int = FILTERS_TRIED, seed: int, begin: BeginTask
) -> list[Row]:
    """Search filters made of training images; the response to an image is its product with the filter.

    Args:
        seen: [N, C, H, W] images as the network's input.
        training: [M, C, H, W] images that the network was trained on, in the same form.
        labels: of the N images.
        count: how many training images are tried, drawn at random if there are more.
        seed: of the draw, of k-means and of the bootstrap.
        begin: called as each task starts; see `training.progress`.

    Returns: a row for the best training image, component and mean.
    """
    pixels, rows = seen.reshape(len(seen), -1), training.reshape(len(training), -1)
    drawn = np.random.default_rng([seed, 7]).permutation(len(rows))[:count]
    kinds = {
        IMAGES: rows[np.sort(drawn)],
        COMPONENTS: principal_components(rows, min(COMPONENTS_TRIED, rows.shape[1])),
        MEANS: means(rows, min(MEANS_TRIED, len(rows)), seed=seed),
    }
    found = {
        name: search(_responses(pixels, filters), labels, report=begin(name, len(filters)))
        for name, filters in kinds.items()
    }
    return [row_of(name, each, labels, seed=seed) for name, each in found.items()]


def principal_components(rows: Float32s, count: int) -> Float32s:
    """Return the `count` directions [count, D] of most variance of rows [M, D], the strongest first."""
    _, directions = np.linalg.eigh(np.cov(rows, rowvar=False))  # in ascending order
    return np.ascontiguousarray(directions[:, ::-1][:, :count].T, np.float32)


def means(rows: Float32s, count: int, *, seed: int) -> Float32s:
    """Return the centres [count, D] of k-means of rows [M, D]."""
    found = kmeans(count, seed=seed).fit(rows)
    return np.ascontiguousarray(found.cluster_centers_, np.float32)


def _responses(pixels: Float32s, filters: Float32s) -> Iterator[Float32s]:
    """Yield the responses [N, B] of filters [F, D], block by block."""
    for start in range(0, len(filters), FILTERS_AT_ONCE):
        yield pixels @ filters[start : start + FILTERS_AT_ONCE].T
