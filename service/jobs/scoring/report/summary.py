"""What the report shows of single images and of how they spread, gathered in constant memory."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.jobs.plan import Plan
from service.jobs.scoring.chunks import Chunk
from training.scores.chosen import chosen_images

BINS = 40  # of a histogram from 0 to 1: readable at the width of a column
SHOWN = 12  # images at either end: whole rows of six, and of three on a narrow page
MAX_ACTIVATIONS = 100_000  # images whose activations are kept for a histogram

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(slots=True)
class Extremes:
    """The images with the smallest and the largest values, in order; of equal values the first image counts."""

    low: list[tuple[float, int]] = field(default_factory=list)
    high: list[tuple[float, int]] = field(default_factory=list)

    def add(self, values: NDArray[np.floating], indices: Ints) -> None:
        """Add values [n] of the images with these indices [n]."""
        rising = np.argsort(values, kind="stable")[:SHOWN]
        self.low = sorted([*self.low, *_pairs(values, indices, rising)])[:SHOWN]
        falling = np.argsort(-values, kind="stable")[:SHOWN]
        high = [*self.high, *_pairs(values, indices, falling)]
        self.high = sorted(high, key=lambda pair: (-pair[0], pair[1]))[:SHOWN]


@dataclass(slots=True)
class Histogram:
    """A histogram of numbers from 0 to 1, and the images at its ends."""

    counts: Ints = field(default_factory=lambda: np.zeros(BINS, np.int64))
    ends: Extremes = field(default_factory=Extremes)

    def add(self, values: NDArray[np.floating], indices: Ints) -> None:
        """Add values [n] of the images with these indices [n]."""
        self.counts += np.histogram(values, BINS, (0, 1))[0]
        self.ends.add(values, indices)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a classifier says of one image: the most probable class, its probability, and p(generated) if it can say."""

    label: int
    probability: float
    generated: float | None


class Summary:
    """Gathers extremes and histograms chunk by chunk, in order.

    Attributes:
        generated: p(generated); None if the classifier cannot say.
        confidence: the probability of the most probable class; None without a classifier.
        activations: float32 [m, C] of concept neurons, of some of the images.
        concepts: the ends of each concept, by sign * activation.
        seen: what the classifier says of the images at the ends, by index.
    """

    def __init__(self, plan: Plan, images: int) -> None:
        assert plan.scoring is not None  # noqa: S101 - only score jobs have reports
        self._concepts = plan.scoring.concepts
        self._chosen = chosen_images(images, MAX_ACTIVATIONS)
        self.generated: Histogram | None = None
        self.confidence: Histogram | None = Histogram() if plan.scoring.classes else None
        self.activations = np.empty((len(self._chosen) if self._concepts else 0, len(self._concepts)), np.float32)
        self.concepts = [Extremes() for _ in self._concepts]
        self.seen: dict[int, Seen] = {}

    def add(self, chunk: Chunk) -> None:
        """Add values [n] of the images with these indices [n]."""
        indices = chunk.indices[chunk.readable]
        if not len(indices):
            return
        if self.confidence is not None:
            self.confidence.add(chunk.columns["probabilities"].max(axis=1), indices)
        if "generated" in chunk.columns:
            self.generated = self.generated or Histogram()
            self.generated.add(chunk.columns["generated"], indices)
        if self.confidence is not None:
            self._see(chunk, indices)
        if self._concepts:
            self._add_activations(chunk, indices)

    def distributions(self) -> dict[str, Any]:
        """Return the histograms, for `score.json`: counts by name, with the edges of the bins."""
        unit = np.linspace(0, 1, BINS + 1).tolist()
        found = {"probability": self.confidence, "generated": self.generated}
        known = {name: _histogram(each.counts, unit) for name, each in found.items() if each is not None}
        for concept, values in zip(self._concepts, self.activations.T, strict=True):
            counts, edges = np.histogram(values, BINS)
            known[f"activation.{concept.name}"] = _histogram(counts, edges.tolist())
        return known

    def _see(self, chunk: Chunk, indices: Ints) -> None:
        """Keep what the classifier says of the images that are at an end now."""
        probabilities, generated = chunk.columns["probabilities"], chunk.columns.get("generated")
        ends = [each.ends for each in (self.confidence, self.generated) if each is not None]
        wanted = {index for each in ends for _, index in (*each.low, *each.high)}
        for index in wanted - self.seen.keys():
            row = int(np.searchsorted(indices, index))
            label = int(probabilities[row].argmax())
            drawn = None if generated is None else float(generated[row])
            self.seen[index] = Seen(label, float(probabilities[row, label]), drawn)
        self.seen = {index: each for index, each in self.seen.items() if index in wanted}

    def _add_activations(self, chunk: Chunk, indices: Ints) -> None:
        activations = chunk.columns["activations"]
        begin, end = np.searchsorted(self._chosen, [chunk.first, chunk.first + len(activations)])  # of the chosen rows
        self.activations[begin:end] = activations[self._chosen[begin:end] - chunk.first]
        for concept, ends, column in zip(self._concepts, self.concepts, activations.T, strict=True):
            ends.add(concept.sign * column, indices)


def _histogram(counts: Ints, edges: list[float]) -> dict[str, list[float]]:
    return {"counts": counts.tolist(), "edges": edges}


def _pairs(values: NDArray[np.floating], indices: Ints, rows: Ints) -> list[tuple[float, int]]:
    return [(float(values[row]), int(indices[row])) for row in rows]
