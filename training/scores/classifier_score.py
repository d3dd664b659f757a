"""The classifier score: the formula of the Inception score over the probabilities of any classifier.

Salimans et al. 2016, section 4 (arXiv:1606.03498): exp(E_x KL(p(y|x) || p(y))), here over 10 sequential splits, as
in their code. It is not called Inception score, since that name stands for the ImageNet network of 2015: scores by
other classifiers share only the formula and must not be compared.

    score = classifier_score(probabilities)                        # all at once
    score = (shard_0 + shard_1 + ...).score()                      # or by shards: ScoreSums.of(...) of each

Sums are kept in fixed point, where addition is exact: the score's bits do not depend on the division into shards.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import ScoreError

__all__ = [
    "Score",
    "ScoreError",
    "ScoreSums",
    "classifier_score",
]  # with the error, since the service imports this module alone

UNIT = 2**40  # sums are fixed-point numbers in units of 2^-40
MAX_ROWS = 2**20  # per call, so that a sum of rows fits int64
TOLERANCE = 1e-3  # of a row's sum from 1; a softmax in half precision stays within it


@dataclass(frozen=True, slots=True)
class Score:
    """Mean and standard deviation (ddof = 0) of the score over the splits; the mean lies in [1, K]."""

    mean: float
    std: float


@dataclass(frozen=True, slots=True)
class ScoreSums:
    """The score's sums over part of the images; `+` joins disjoint parts.

    Attributes:
        total: number of images of the whole score.
        counts: number of images per split.
        probabilities: sum of p(y|x) per split and class, in units of 2^-40.
        negentropies: sum over x and y of p log p (nats) per split, in units of 2^-40.
    """

    total: int
    counts: tuple[int, ...]
    probabilities: tuple[tuple[int, ...], ...]
    negentropies: tuple[int, ...]

    @classmethod
    def of(cls, probabilities: NDArray[np.floating[Any]], *, first: int, total: int, splits: int = 10) -> ScoreSums:
        """Compute the sums of one shard.

        Args:
            probabilities: [N, K] with N >= 1; rows in [0, 1] that sum to 1.
            first: index of the first row among all images, >= 0.
            total: number of all images, >= splits.
            splits: number of consecutive parts whose scores are averaged, >= 1.

        Raises:
            ScoreError: if a value is out of range, not a number, or a row does not sum to 1.
        """
        rows = _checked(probabilities)
        if splits < 1 or total < splits:
            raise ScoreError(f"{total} images cannot be cut into {splits} splits; score at least {splits} images")
        if first < 0 or first + len(rows) > total:
            raise ScoreError(f"images {first} to {first + len(rows)} do not lie in 0 to {total}")
        bounds = [min(max(split * total // splits - first, 0), len(rows)) for split in range(splits + 1)]
        parts = [rows[start:end] for start, end in itertools.pairwise(bounds)]
        return cls(
            total,
            tuple(len(part) for part in parts),
            tuple(tuple(_fixed(part).sum(axis=0).tolist()) for part in parts),
            tuple(int(_fixed(_times_log(part)).sum()) for part in parts),
        )

    def __add__(self, other: ScoreSums) -> ScoreSums:
        """Join two disjoint parts of one score."""
        if (self.total, len(self.counts), self._classes) != (other.total, len(other.counts), other._classes):
            raise ScoreError("sums of different scores cannot be added: total, splits and classes must agree")
        return ScoreSums(
            self.total,
            _added(self.counts, other.counts),
            tuple(_added(one, two) for one, two in zip(self.probabilities, other.probabilities, strict=True)),
            _added(self.negentropies, other.negentropies),
        )

    def score(self) -> Score:
        """Return the score.

        Raises:
            ScoreError: if the parts do not cover each image exactly once.
        """
        splits = len(self.counts)
        expected = tuple((n + 1) * self.total // splits - n * self.total // splits for n in range(splits))
        if self.counts != expected:
            raise ScoreError(
                f"the sums cover {self.counts} images of the splits; expected {expected}: a shard is missing"
            )
        values = [self._split(number) for number in range(splits)]
        mean = math.fsum(values) / splits
        return Score(mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / splits))

    def to_dict(self) -> dict[str, Any]:
        """Return the sums as JSON values."""
        return {
            "total": self.total,
            "counts": list(self.counts),
            "probabilities": [list(row) for row in self.probabilities],
            "negentropies": list(self.negentropies),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ScoreSums:
        """Read what `to_dict` returned.

        Raises:
            ScoreError: if a value is missing or not an integer.
        """
        try:
            return cls(
                int(values["total"]),
                tuple(int(count) for count in values["counts"]),
                tuple(tuple(int(part) for part in row) for row in values["probabilities"]),
                tuple(int(part) for part in values["negentropies"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ScoreError(f"these are not the sums of a classifier score ({error!r})") from None

    @property
    def _classes(self) -> int:
        return len(self.probabilities[0])

    def _split(self, number: int) -> float:
        """Return exp(E_x KL(p(y|x) || p(y))) = exp(E_x sum p log p - sum p(y) log p(y)) of one split."""
        count = self.counts[number] * UNIT
        marginal = [part / count for part in self.probabilities[number]]
        return math.exp(self.negentropies[number] / count - math.fsum(p * math.log(p) for p in marginal if p > 0))


def classifier_score(probabilities: NDArray[np.floating[Any]], *, splits: int = 10) -> Score:
    """Return the classifier score of probabilities [N, K], N >= splits, in the order of the images.

    Raises:
        ScoreError: if a value is out of range, not a number, a row does not sum to 1, or N < splits.
    """
    total = len(probabilities)
    parts = range(0, total, MAX_ROWS)
    sums = [ScoreSums.of(probabilities[n : n + MAX_ROWS], first=n, total=total, splits=splits) for n in parts]
    if not sums:
        raise ScoreError("there are no images to score")
    return sum(sums[1:], start=sums[0]).score()


def _checked(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """Return probabilities as float64, or raise ScoreError."""
    if probabilities.ndim != 2 or 0 in probabilities.shape or len(probabilities) > MAX_ROWS:
        raise ScoreError(f"expected probabilities [N, K] with N in 1..{MAX_ROWS}, got {list(probabilities.shape)}")
    rows = probabilities.astype(np.float64)
    if not np.isfinite(rows).all():
        raise ScoreError(f"probabilities of image {int(np.argmin(np.isfinite(rows).all(axis=1)))} are not finite")
    if rows.min() < 0 or rows.max() > 1 + TOLERANCE:
        raise ScoreError(f"probabilities lie in [{rows.min():g}, {rows.max():g}]; expected [0, 1], not logits")
    away = np.abs(rows.sum(axis=1) - 1)
    if away.max() > TOLERANCE:
        raise ScoreError(f"probabilities of image {int(away.argmax())} sum to {rows[away.argmax()].sum():g}, not 1")
    return rows


def _times_log(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return p log p, which is 0 at p = 0."""
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return probabilities * logs


def _fixed(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Round values to units of 2^-40."""
    return np.rint(values * UNIT).astype(np.int64)


def _added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, ...]:
    """Add two tuples entry by entry."""
    return tuple(left + right for left, right in zip(one, other, strict=True))
