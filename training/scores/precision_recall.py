"""Precision, recall, density and coverage: the quality and the diversity of samples.

Precision and recall are those of Kynkaanniemi et al. 2019 (arXiv:1904.06991), density and coverage those of Naeem et
al. 2020 (arXiv:2002.09797). All four test whether points lie in closed balls around other points; a ball's radius is
the distance to the k-th nearest other point of its set. More images shrink the balls and change the values: compare
only values of equal numbers of images and equal k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.errors import ScoreError
from training.progress import Report
from training.scores.conditions import Conditions
from training.scores.distances import Float64s, Table, blocks, checked_pair, squared_distances

NEIGHBOURS = 5  # k of Naeem et al.; Kynkaanniemi et al. use 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionRecall:
    """The four scores.

    Attributes:
        precision: share in [0, 1] of generated images inside a real image's ball.
        recall: share in [0, 1] of real images inside a generated image's ball.
        density: mean number of real balls that contain a generated image, divided by k; may exceed 1.
        coverage: share in [0, 1] of real images whose ball contains a generated image.
        neighbours: k.
        real: number of real images.
        generated: number of generated images.
        conditions: of the measurement.
    """

    precision: float
    recall: float
    density: float
    coverage: float
    neighbours: int
    real: int
    generated: int
    conditions: Conditions

    def __str__(self) -> str:
        return (
            f"precision {self.precision:.4f}, recall {self.recall:.4f}, density {self.density:.4f}, coverage "
            f"{self.coverage:.4f} (k = {self.neighbours}, {self.generated:,} generated and {self.real:,} real images, "
            f"{self.conditions})"
        )


def precision_recall(
    real: Table,
    generated: Table,
    *,
    neighbours: int = NEIGHBOURS,
    conditions: Conditions | None = None,
    report: Report = lambda _: None,
) -> PrecisionRecall:
    """Return precision, recall, density and coverage; in memory that does not grow with N x M.

    Args:
        real: [N, F] features of real images, N > k.
        generated: [M, F] features of generated images, M > k.
        neighbours: k, >= 1.
        conditions: of the measurement, stored with the result.
        report: called with the number of pairs of images just compared, of N^2 + M^2 + N M.

    Raises:
        ScoreError: if an array is malformed or too short, or k < 1.
    """
    if neighbours < 1:
        raise ScoreError(f"expected neighbours >= 1, got {neighbours}")
    one, other = checked_pair(real, generated, at_least=neighbours + 1)
    real_radii, generated_radii = (squared_radii(points, neighbours, report=report) for points in (one, other))
    in_real_balls = np.empty(len(other), np.int64)  # [M] number of real balls that contain it
    in_generated_ball = np.zeros(len(one), bool)  # [N]
    nearest = np.full(len(one), np.inf)  # [N] squared distance to the nearest generated image
    for block in blocks(len(other), len(one)):
        distances = squared_distances(other[block], one)  # [B, N]
        in_real_balls[block] = np.count_nonzero(distances <= real_radii, axis=1)
        in_generated_ball |= (distances <= generated_radii[block, None]).any(axis=0)
        np.minimum(nearest, distances.min(axis=0), out=nearest)
        report(distances.size)
    return PrecisionRecall(
        precision=float((in_real_balls > 0).mean()),
        recall=float(in_generated_ball.mean()),
        density=float(in_real_balls.mean() / neighbours),
        coverage=float((nearest <= real_radii).mean()),
        neighbours=neighbours,
        real=len(one),
        generated=len(other),
        conditions=conditions or Conditions(),
    )


def squared_radii(points: Float64s, neighbours: int, *, report: Report = lambda _: None) -> Float64s:
    """Return the squared distance [N] of each of the points [N, F] to its k-th nearest other one, N > k."""
    radii = np.empty(len(points))
    for block in blocks(len(points), len(points)):
        distances = squared_distances(points[block], points)
        # A point is not its own neighbour.
        distances[np.arange(len(distances)), np.arange(block.start, block.stop)] = np.inf
        radii[block] = np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1]
        report(distances.size)
    return radii
