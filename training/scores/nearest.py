"""The training images nearest to samples, which show whether the generator memorised its data.

The sheet is figure 2 of Goodfellow et al. 2014 (arXiv:1406.2661): rows of samples, and in the rightmost column the
training image nearest to the last sample of the row.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.errors import ScoreError
from training.runs.grids import grid
from training.scores.distances import blocks, squared_distances

ROWS, COLUMNS = 4, 5  # of samples; the nearest images add a column
COMPARED = 500  # images of each kind whose distances are told; a share of 5 % of them is 25
MAX_BLOCK = 4096  # images per block that is converted to float64


@dataclass(frozen=True, slots=True, eq=False)
class Nearest:
    """The nearest image to each query.

    Attributes:
        indices: int64 [N]; the first of ties.
        distances: int64 [N], squared Euclidean, pixels in 0..255; exact.
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.int64]


def nearest_images(queries: NDArray[np.uint8], images: NDArray[np.uint8]) -> Nearest:
    """Find the image at the smallest squared Euclidean distance from each query, in bounded memory.

    Args:
        queries: uint8 [N, H, W, C].
        images: uint8 [M, H, W, C], M >= 1.

    Raises:
        ScoreError: if images are malformed or of different sizes.
    """
    _must_fit(queries, images)
    wanted = queries.reshape(len(queries), -1).astype(np.float64)
    indices = np.zeros(len(wanted), np.int64)
    distances = np.full(len(wanted), np.inf)
    for start in range(0, len(images), MAX_BLOCK):
        part = images[start : start + MAX_BLOCK].reshape(-1, wanted.shape[1]).astype(np.float64)
        for block in blocks(len(wanted), len(part)):
            found = squared_distances(wanted[block], part)  # [B, P]
            smallest = found.min(axis=1)
            nearer = smallest < distances[block]
            indices[block] = np.where(nearer, start + found.argmin(axis=1), indices[block])
            distances[block] = np.where(nearer, smallest, distances[block])
    return Nearest(indices, distances.astype(np.int64))


@dataclass(frozen=True, slots=True)
class Nearness:
    """How far images are from the training images nearest to them.

    Attributes:
        images: how many.
        median: root mean square difference of an image's pixels from those of its nearest, 0 to 255; over the images.
        low: what 5 % of the images stay below.
    """

    images: int
    median: float
    low: float


def nearness(queries: NDArray[np.uint8], images: NDArray[np.uint8]) -> Nearness:
    """Say how far the first images are from the training images nearest to them, COMPARED at most.

    A generator that repeats its training images is far nearer to them than real images that it did not see.

    Args:
        queries: uint8 [N, H, W, C], samples or real images.
        images: uint8 [M, H, W, C], the training images.

    Raises:
        ScoreError: if images are malformed or of different sizes.
    """
    found = nearest_images(queries[:COMPARED], images).distances
    low, median = np.quantile(np.sqrt(found / queries[0].size), (0.05, 0.5))
    return Nearness(len(found), float(median), float(low))


def nearest_sheet(
    samples: NDArray[np.uint8],
    images: NDArray[np.uint8],
    *,
    rows: int = ROWS,
    columns: int = COLUMNS,
    scale: int = 2,
) -> Image.Image:
    """Draw samples row by row, each row followed by the training image nearest to its last sample.

    Args:
        samples: uint8 [N, H, W, C] with N >= rows * columns; the first ones are drawn.
        images: uint8 [M, H, W, C], the training images.
        rows: of samples, >= 1.
        columns: of samples, >= 1; the sheet has one more.
        scale: side in px of the square that each pixel becomes, >= 1.

    Raises:
        ScoreError: if there are too few samples, or images are malformed or of different sizes.
    """
    _must_fit(samples, images)
    if rows < 1 or columns < 1 or len(samples) < rows * columns:
        raise ScoreError(f"{len(samples)} samples do not fill a sheet of {rows} rows of {columns}; give at least that")
    drawn = samples[: rows * columns].reshape(rows, columns, *samples.shape[1:])
    nearest = images[nearest_images(drawn[:, -1], images).indices]  # [rows, H, W, C]
    sheet = np.concatenate([drawn, nearest[:, None]], axis=1)
    return grid(sheet.reshape(-1, *samples.shape[1:]), columns + 1, scale=scale)


def _must_fit(queries: NDArray[np.uint8], images: NDArray[np.uint8]) -> None:
    """Refuse what is not uint8 [N, H, W, C], and images of different sizes."""
    for table, what in ((queries, "samples"), (images, "training images")):
        if table.ndim != 4 or 0 in table.shape or table.dtype != np.uint8:
            raise ScoreError(f"expected {what} uint8 [N, H, W, C] with N >= 1, got {table.dtype} {list(table.shape)}")
    if queries.shape[1:] != images.shape[1:]:
        raise ScoreError(f"samples are {list(queries.shape[1:])}, but training images {list(images.shape[1:])}")
