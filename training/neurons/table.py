"""The table of a concept: its neuron and the paper's controls, under both protocols."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from training.neurons.concepts import Concept
from training.neurons.search import Labels, Measurement, SearchResult, measure

NEURON, OF_STAGE, RANDOM_WEIGHTS = "best neuron", "best unit of stage {}", "random weights"
FIRST = OF_STAGE.format(1)
FILTERS, SMOOTH_FILTERS = "random linear filter", "random smooth filter"
IMAGES, COMPONENTS, MEANS = "training image as filter", "principal component", "k-means centre"
UNNORMALISED, PLAIN = "no normalisation", "plain autoencoder"
STATISTICS, MAJORITY = "image statistics", "always the majority"

# Le et al. 2012, tables 1 and 2: majority, random weights, filters from the training set, first stage, plain
# autoencoder of three layers, without contrast normalisation, best neuron. Accuracies in percent.
_ORDER = (MAJORITY, RANDOM_WEIGHTS, IMAGES, FIRST, PLAIN, UNNORMALISED, NEURON)
PUBLISHED = {
    "face": dict(zip(_ORDER, (64.8, 67.0, 74.0, 71.0, 72.3, 78.5, 81.7), strict=True)),
    "human-body": dict(zip(_ORDER, (64.8, 66.5, 68.1, 67.2, 71.2, 71.8, 76.7), strict=True)),
    "cat": dict(zip(_ORDER, (64.8, 66.0, 67.8, 67.1, 67.5, 69.3, 74.8), strict=True)),
}

NOTES = (
    "Paper: unit, threshold and accuracy on the same images. Honest: unit, threshold and sign chosen on one half, "
    "measured on the other, with a 95 % bootstrap interval and AUROC.",
    f"{STATISTICS.capitalize()}: a logistic model of colour, contrast and blur, which knows nothing of what is shown; "
    "under Paper its five-fold cross-validated accuracy.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One way to detect the concept; accuracies in [0, 1], None if not measured."""

    name: str
    paper: float  # under the paper's protocol
    honest: float
    low: float | None = None  # of the honest accuracy's 95 % interval
    high: float | None = None
    auroc: float | None = None
    where: str = ""  # stage, from 1, and unit that the honest protocol chose


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """All measurements of a concept.

    Attributes:
        concept: the neuron.
        rows: the neuron and its controls.
        positives: number of positives in both halves.
        distractors: number of distractors in both halves.
        second: the neuron on a second test set, on which nothing was chosen.
        crops: the neuron on the reporting half, by the share of each side that is cut off at either end; none if the
            search saw whole images alone.
        source: description of the images.
    """

    concept: Concept
    rows: Sequence[Row]
    positives: int
    distractors: int
    second: Measurement | None = None
    crops: Mapping[float, Measurement] = field(default_factory=dict)
    source: str = ""

    def published(self, row: Row) -> float | None:
        """Return the paper's accuracy in [0, 1] of a row, or None."""
        published = PUBLISHED.get(self.concept.name, {}).get(row.name)
        return None if published is None else round(published / 100, 3)

    def to_json(self) -> str:
        """Return the text of table.json."""
        return json.dumps(self.values(), indent=2) + "\n"

    def values(self) -> dict[str, Any]:
        """Return everything as JSON values; accuracies in [0, 1]."""
        rows = [{**dataclasses.asdict(row), "published": self.published(row)} for row in self.rows]
        second = None if self.second is None else dataclasses.asdict(self.second)
        kept: dict[str, Any] = {"positives": self.positives, "distractors": self.distractors, "source": self.source}
        kept |= {"crops": [{"cut": cut, **dataclasses.asdict(found)} for cut, found in self.crops.items()]}
        return {"concept": dataclasses.asdict(self.concept), **kept, "rows": rows, "second": second}

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Return columns and rows as text, in percent."""
        columns = ["", "paper", "honest", "95 %", "AUROC", "Le 2012", "unit"]
        return columns, [
            [
                row.name,
                percent(row.paper),
                percent(row.honest),
                "" if row.low is None or row.high is None else f"{100 * row.low:.1f}-{100 * row.high:.1f}",
                "" if row.auroc is None else f"{row.auroc:.3f}",
                percent(self.published(row)),
                row.where,
            ]
            for row in self.rows
        ]

    def sentences(self) -> list[str]:
        """Describe the images of the table."""
        said = [
            f"{self.positives:,} images show {self.concept.name}, {self.distractors:,} do not "
            f"({percent(self.distractors / (self.positives + self.distractors))} %). {self.source}".strip()
        ]
        if self.crops:
            said.append("Searched and measured on whole images and on their middles; the neuron by itself:")
            said += [
                f"{percent(cut)} % cut off at each end of either side: {_told(it)}" for cut, it in self.crops.items()
            ]
        if self.second is not None:
            said.append(
                f"On a second test set, {self.second.positives:,} against {self.second.distractors:,} images and with "
                f"nothing chosen on it: {percent(self.second.accuracy)} % ({100 * self.second.low:.1f} to "
                f"{100 * self.second.high:.1f}), AUROC {self.second.auroc:.3f}."
            )
        return said

    def to_markdown(self) -> str:
        """Return the text of table.md."""
        columns, rows = self.cells()
        lines = ["| " + " | ".join(columns) + " |", "| --- |" + " ---: |" * (len(columns) - 2) + " --- |"]
        lines += ["| " + " | ".join(row) + " |" for row in rows]
        text = "\n\n".join([*self.sentences(), *NOTES])
        return f"# {self.concept.name}\n\nAccuracies in percent.\n\n" + "\n".join(lines) + f"\n\n{text}\n"


def row_of(name: str, found: SearchResult, labels: Labels, *, seed: int, where: str = "") -> Row:
    """Measure a search result on the reporting half."""
    result = measure(found.honest, found.activations, labels, seed=seed)
    return Row(
        name=name,
        paper=found.paper.accuracy,
        honest=result.accuracy,
        low=result.low,
        high=result.high,
        auroc=result.auroc,
        where=where,
    )


def _told(found: Measurement) -> str:
    return (
        f"{percent(found.accuracy)} % right ({100 * found.low:.1f} to {100 * found.high:.1f}), "
        f"{percent(found.found)} % found, {percent(found.false_alarms)} % false alarms, AUROC {found.auroc:.3f}."
    )


def percent(share: float | None) -> str:
    """Write a value in [0, 1] in percent; empty for None."""
    return "" if share is None else f"{100 * share:.1f}"
