"""The search for the neuron that best detects a concept, Le et al. 2012, section 4.2, and an honest form. NumPy only.

The paper tries, for every neuron, 20 equally spaced thresholds between its lowest and highest activation on the test
set, and reports the best accuracy of the best neuron on that same set. With tens of thousands of neurons that is
optimistic: the honest protocol chooses neuron, threshold and sign on one half of the images and reports on the other.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.neurons.concepts import Concept
from training.neurons.measures import auroc, bootstrap_interval, calibrated
from training.progress import Report

THRESHOLDS = 20  # per unit, as in the paper
BLOCK_VALUES = 4 * 2**20  # activations per block, 16 MB of float32

Activations = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """Labels of N images: which are positives, their groups, and which half choices are made on.

    Attributes:
        positives: bool [N].
        groups: int64 [N], of the bootstrap.
        choosing: bool [N], the half that choices are made on; results are reported on the other.
    """

    positives: NDArray[np.bool_]
    groups: NDArray[np.int64]
    choosing: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Choice:
    """One unit with its threshold; its decision is `sign * activation > threshold`."""

    unit: int
    sign: int
    threshold: float  # of sign * activation
    accuracy: float  # on the images it was chosen on

    def decides(self, activations: Activations) -> NDArray[np.bool_]:
        """Return bool [N]: which activations [N] of the unit mean the concept."""
        decisions: NDArray[np.bool_] = self.sign * activations > self.threshold
        return decisions


@dataclass(frozen=True, slots=True, eq=False)
class SearchResult:
    """The best units of a search, under both protocols.

    Attributes:
        paper: chosen and measured on all images.
        honest: chosen on one half; its accuracy is that half's.
        activations: [N] of the honest unit.
    """

    paper: Choice
    honest: Choice
    activations: Activations


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """Performance of a choice on images it was not made on; values in [0, 1]."""

    accuracy: float
    low: float  # of the accuracy's 95 % bootstrap interval
    high: float
    auroc: float  # of sign * activation
    found: float  # share of the positives that were decided to be some
    false_alarms: float  # share of the distractors
    positives: int
    distractors: int


def best_thresholds(
    activations: Activations, positives: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], Activations, NDArray[np.int64]]:
    """Try 20 equally spaced thresholds from each unit's lowest to its highest activation, with either sign.

    Args:
        activations: [N, U].
        positives: bool [N].

    Returns: the best accuracy [U], and threshold [U] (of sign * activation) and sign [U] that reach it.
    """
    signed = np.where(positives, 1, -1).astype(np.float32)  # correct decisions = distractors + sum over those decided
    low, high = activations.min(axis=0), activations.max(axis=0)
    best = np.full(activations.shape[1], -np.inf)
    thresholds, signs = np.zeros_like(low), np.ones(len(low), np.int64)
    for step in range(THRESHOLDS):
        level = (low + (high - low) * (step / (THRESHOLDS - 1))).astype(activations.dtype)
        for sign, decided in ((1, activations > level), (-1, activations < level)):
            gains = signed @ decided.astype(np.float32)
            better = gains > best
            best[better], thresholds[better], signs[better] = gains[better], sign * level[better], sign
    return (best + np.count_nonzero(~positives)) / len(positives), thresholds, signs


def search(blocks: Iterable[Activations], labels: Labels, *, report: Report = lambda _: None) -> SearchResult:
    """Find the best units under both protocols. The honest choice does not use the reporting half.

    Args:
        blocks: activations [N, B] of consecutive units; each block is read once.
        labels: of the N images.
        report: called with the number of units just done.

    Raises:
        ValueError: if there is no unit.
    """
    everything = np.ones_like(labels.choosing)
    best: dict[str, tuple[Choice, Activations]] = {}
    seen = 0
    for block in blocks:
        for protocol, rows in (("paper", everything), ("honest", labels.choosing)):
            accuracies, thresholds, signs = best_thresholds(block[rows], labels.positives[rows])
            at = int(accuracies.argmax())
            if protocol not in best or accuracies[at] > best[protocol][0].accuracy:
                choice = Choice(seen + at, int(signs[at]), float(thresholds[at]), float(accuracies[at]))
                best[protocol] = choice, block[:, at].copy()
        seen += block.shape[1]
        report(block.shape[1])
    if not best:
        raise ValueError("there are no units to search")
    return SearchResult(best["paper"][0], *best["honest"])


def unit_blocks(activations: Activations) -> Iterator[Activations]:
    """Split activations [N, U], possibly mapped from a file, into blocks [N, B] of bounded size."""
    images, units = activations.shape
    width = max(1, BLOCK_VALUES // images)
    for start in range(0, units, width):
        yield np.ascontiguousarray(activations[:, start : start + width])


def measure(choice: Choice, activations: Activations, labels: Labels, *, seed: int) -> Measurement:
    """Measure a choice on the half that it was not made on.

    Args:
        choice: what to measure.
        activations: [N] of its unit.
        labels: of the N images.
        seed: of the bootstrap.
    """
    rows = ~labels.choosing
    return decided(choice, activations[rows], labels.positives[rows], groups=labels.groups[rows], seed=seed)


def decided(
    choice: Choice,
    activations: Activations,
    positives: NDArray[np.bool_],
    *,
    groups: NDArray[np.int64] | None = None,
    seed: int,
) -> Measurement:
    """Measure a choice on all of N images."""
    decisions = choice.decides(activations)
    correct = decisions == positives
    low, high = bootstrap_interval(correct, groups=groups, seed=seed)
    return Measurement(
        accuracy=float(correct.mean()),
        low=low,
        high=high,
        auroc=auroc(choice.sign * activations, positives),
        found=float(decisions[positives].mean()),
        false_alarms=float(decisions[~positives].mean()),
        positives=int(positives.sum()),
        distractors=int((~positives).sum()),
    )


def concept(name: str, stage: int, found: SearchResult, labels: Labels, *, seed: int) -> Concept:
    """Return a search result as a concept, with its confidence calibrated on the choosing half."""
    choice, rows = found.honest, labels.choosing
    distances = choice.sign * found.activations[rows].astype(np.float64) - choice.threshold
    slope, intercept = calibrated(distances, labels.positives[rows])
    result = measure(choice, found.activations, labels, seed=seed)
    return Concept(
        name=name,
        stage=stage,
        unit=choice.unit,
        sign=choice.sign,
        threshold=choice.threshold,
        slope=slope,
        intercept=intercept,
        **_performance(result),
    )


def measured_as(neuron: Concept, result: Measurement) -> Concept:
    """Return a concept with the performance of another measurement of the same neuron."""
    return dataclasses.replace(neuron, **_performance(result))


def _performance(result: Measurement) -> dict[str, Any]:
    """Return a measurement as fields of a concept."""
    return {
        "accuracy": result.accuracy,
        "accuracy_low": result.low,
        "accuracy_high": result.high,
        "auroc": result.auroc,
        "positives": result.positives,
        "distractors": result.distractors,
    }
