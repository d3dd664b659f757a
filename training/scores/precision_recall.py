"""Precision, recall, density and coverage: are the samples real, and do they show everything that is real?

Precision and recall are those of Kynkaanniemi et al. 2019 (arXiv:1904.06991), density and coverage those of Naeem et
al. 2020 (arXiv:2002.09797). All four ask whether points lie in closed balls around other points, each ball as large as
the distance from its centre to the k-th nearest other point of the same set. With more images the balls shrink and the
values move: compare only values of the same numbers and the same k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.errors import ScoreError
from training.scores.conditions import Conditions
from training.scores.distances import Float64s, Table, blocks, checked_pair, squared_distances

NEIGHBOURS = 5  # k of Naeem et al.; Kynkaanniemi et al. take 3


@dataclass(frozen=True, slots=True, kw_only=True)
class PrecisionRecall:
    """The four shares.

    Attributes:
        precision: share of generated images inside a ball of a real one.
        recall: share of real images inside a ball of a generated one.
        density: mean number of real balls around a generated image, over k; may exceed 1.
        coverage: share of real images with a generated one inside their ball.
        neighbours: k.
        real: how many real images.
        generated: how many generated images.
        conditions: what belongs beside the values.
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
    real: Table, generated: Table, *, neighbours: int = NEIGHBOURS, conditions: Conditions | None = None
) -> PrecisionRecall:
    """Return precision, recall, density and coverage; memory does not grow with N times M.

    Args:
        real: [N, F] features of real images, N > k.
        generated: [M, F] features of generated images, M > k.
        neighbours: k, >= 1.
        conditions: what belongs beside the result.

    Raises:
        ScoreError: if a table is no such table or too short, or k < 1.
    """
    if neighbours < 1:
        raise ScoreError(f"expected neighbours >= 1, got {neighbours}")
    one, other = checked_pair(real, generated, at_least=neighbours + 1)
    real_radii, generated_radii = squared_radii(one, neighbours), squared_radii(other, neighbours)
    in_real_balls = np.empty(len(other), np.int64)  # by generated image, how many
    in_generated_ball = np.zeros(len(one), bool)  # by real image
    nearest = np.full(len(one), np.inf)  # by real image, squared distance to the nearest generated one
    for block in blocks(len(other), len(one)):
        distances = squared_distances(other[block], one)  # [B, N]
        in_real_balls[block] = np.count_nonzero(distances <= real_radii, axis=1)
        in_generated_ball |= (distances <= generated_radii[block, None]).any(axis=0)
        np.minimum(nearest, distances.min(axis=0), out=nearest)
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


def squared_radii(points: Float64s, neighbours: int) -> Float64s:
    """Return the squared distance [N] of each of the points [N, F] to its k-th nearest other one, N > k."""
    radii = np.empty(len(points))
    for block in blocks(len(points), len(points)):
        distances = squared_distances(points[block], points)
        distances[np.arange(len(distances)), np.arange(block.start, block.stop)] = np.inf  # itself is no neighbour
        radii[block] = np.partition(distances, neighbours - 1, axis=1)[:, neighbours - 1]
    return radii
