"""All scores that compare features of generated and real images.

compared = compare(real.features, generated.features, generated.probabilities, conditions=...)
"""

from __future__ import annotations

from dataclasses import dataclass

from training.progress import Report
from training.scores.classifier_score import Score, classifier_score
from training.scores.conditions import Conditions
from training.scores.distances import Table
from training.scores.frechet import FrechetDistance, Moments, frechet_distance
from training.scores.kernel_distance import SUBSET_SIZE, SUBSETS, KernelDistance, kernel_distance
from training.scores.precision_recall import NEIGHBOURS, PrecisionRecall, precision_recall


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The scores of one set of generated images; each states what it was measured on."""

    classifier: Score | None  # None if the extractor knows no classes
    frechet: FrechetDistance
    kernel: KernelDistance
    shares: PrecisionRecall


def compare(
    real: Table,
    generated: Table,
    probabilities: Table,
    *,
    seed: int = 0,
    neighbours: int = NEIGHBOURS,
    conditions: Conditions | None = None,
    report: Report = lambda _: None,
) -> Comparison:
    """Score generated images.

    Args:
        real: [N, F] features of real images, N > F.
        generated: [M, F] features of generated images, M > F, in sample order.
        probabilities: [M, K] of the same images; K is 0 without classes.
        seed: of the kernel distance's subsets of 1,000 images, or of the smaller set's size.
        neighbours: k of precision, recall, density and coverage.
        conditions: of the measurement, stored with the results.
        report: called with the number of pairs of images just compared, of `pairs_of`.

    Raises:
        ScoreError: if there are too few images, or an array is malformed.
    """
    frechet = frechet_distance(
        Moments.of(real, what="real images"), Moments.of(generated, what="generated images"), conditions=conditions
    )
    subset_size = min(SUBSET_SIZE, len(real), len(generated))
    return Comparison(
        classifier=classifier_score(probabilities) if probabilities.shape[1] else None,
        frechet=frechet,
        kernel=kernel_distance(
            real, generated, subset_size=subset_size, seed=seed, conditions=conditions, report=report
        ),
        shares=precision_recall(real, generated, neighbours=neighbours, conditions=conditions, report=report),
    )


def pairs_of(real: int, generated: int) -> int:
    """Return how many pairs the comparison of so many images looks at, which decides how long it takes."""
    subset = min(SUBSET_SIZE, real, generated)
    return 3 * SUBSETS * subset**2 + real**2 + generated**2 + real * generated
