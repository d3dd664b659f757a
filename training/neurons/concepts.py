"""Concepts: named things that a neuron detects, stored in a run folder's concepts.json. NumPy only.

A concept's decision is `sign * activation > threshold`; its confidence is calibrated on labelled images by a logistic
curve of the distance to the threshold (Platt 1999).
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.errors import RunError
from training.runs.files import write_atomically

CONCEPTS_FILE = "concepts.json"
NAME_PATTERN = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Concept:
    """A neuron that detects a named thing, and its performance on labelled images that it was not chosen on."""

    name: str
    stage: int  # from 1
    unit: int  # index into the stage's units [M, H, W], flattened
    sign: int  # 1, or -1 if low activations mean the concept
    threshold: float  # of sign * activation
    slope: float  # of the confidence, per unit of sign * activation - threshold; > 0
    intercept: float  # of the confidence
    accuracy: float  # share of correct decisions, in [0, 1]
    accuracy_low: float  # lower end of its 95 % bootstrap interval
    accuracy_high: float  # upper end
    auroc: float  # of sign * activation
    positives: int  # test images that show the concept
    distractors: int  # test images that do not

    def __post_init__(self) -> None:
        """Check values that a damaged file could hold."""
        if not NAME_PATTERN.fullmatch(self.name):
            raise ValueError(f"name {self.name!r} is not 1 to 63 of a-z, 0-9 and -")
        if self.sign not in (-1, 1) or self.stage < 1 or self.unit < 0:
            raise ValueError(f"sign {self.sign}, stage {self.stage}, unit {self.unit}")
        if not all(math.isfinite(value) for value in (self.threshold, self.slope, self.intercept)):
            raise ValueError("a threshold or slope is not finite")

    def decides(self, activations: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
        """Return bool [N]: which activations [N] of the unit mean the concept."""
        decisions: NDArray[np.bool_] = self.sign * activations > self.threshold
        return decisions

    def confidence(self, activations: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        """Return the probability [N], in [0, 1], that images with these activations [N] show the concept."""
        score = self.slope * (self.sign * activations.astype(np.float64) - self.threshold) + self.intercept
        return 0.5 * (1 + np.tanh(score / 2))


def read_concepts(folder: Path) -> tuple[Concept, ...]:
    """Read the concepts of a run folder, in order; none if none was searched yet.

    Raises:
        RunError: if the file is damaged.
    """
    path = folder / CONCEPTS_FILE
    if not path.exists():
        return ()
    try:
        return concepts_from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise RunError(f"{path} is damaged ({error}); `mintage neurons find --replace` writes it anew") from None


def concepts_from_json(text: str) -> tuple[Concept, ...]:
    """Read the text of concepts.json.

    Raises:
        ValueError: if it is not JSON, or no list of concepts with different names.
    """
    try:
        concepts = tuple(Concept(**values) for values in json.loads(text)["concepts"])
    except (KeyError, TypeError) as error:
        raise ValueError(f"it is not a list of concepts: {error!r}") from None
    if len({concept.name for concept in concepts}) < len(concepts):
        raise ValueError("two concepts have the same name")
    return concepts


def with_concept(concepts: Iterable[Concept], concept: Concept) -> tuple[Concept, ...]:
    """Return concepts with one added, replacing the one of the same name."""
    kept = {each.name: each for each in concepts}
    return tuple({**kept, concept.name: concept}.values())


def write_concepts(folder: Path, concepts: Iterable[Concept]) -> None:
    """Write the concepts of a run folder."""
    values = {"concepts": [dataclasses.asdict(concept) for concept in concepts]}
    write_atomically(folder / CONCEPTS_FILE, (json.dumps(values, indent=2) + "\n").encode())
