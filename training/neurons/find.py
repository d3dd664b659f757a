"""Finds the neuron of a run that detects a concept, measures it and the controls, and stores it in the run folder.

RUN/
├── concepts.json        concepts found so far; packed with the run
└── neurons/face/
    ├── table.json       neuron and controls, under both protocols
    ├── table.md         the same as Markdown
    └── *.png            see `training.neurons.pictures`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.errors import DataError
from training.neurons.activations import LoadedRun, activations_of, fresh_network, seen_images
from training.neurons.concepts import NAME_PATTERN, read_concepts, with_concept, write_concepts
from training.neurons.controls import (
    FILTERS_TRIED,
    SMOOTHNESS,
    Stages,
    majority,
    random_filters,
    search_stages,
    statistics_control,
)
from training.neurons.examples import MIN_PER_SIDE, SHARE, Examples, halves, in_proportion
from training.neurons.image_filters import image_filters
from training.neurons.matching import image_statistics, matched
from training.neurons.pictures import Neuron, draw
from training.neurons.search import Choice, Labels, Measurement, SearchResult, concept, decided, measure, measured_as
from training.neurons.table import NEURON, OF_STAGE, PLAIN, RANDOM_WEIGHTS, UNNORMALISED, Row, Table, row_of
from training.progress import BeginTask
from training.runs.files import write_atomically

NEURONS_FOLDER = "neurons"
MAX_CROP = 0.4  # leaves a fifth of each side
FRESH = 1_000_003  # added to the run's seed for the control with random weights


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """How a concept is searched.

    Attributes:
        name: of the concept.
        match: whether to match distractors to positives in colour, contrast and blur.
        share: of distractors among the images, in (0, 1).
        crops: shares of each side; the search also sees the images with so much cut off at either end.
        filters: number of random linear filters to compare with, white and smooth each.
        seed: of every random choice.
    """

    name: str
    match: bool
    share: float = SHARE
    crops: tuple[float, ...] = ()
    filters: int = FILTERS_TRIED
    seed: int = 1

    def __post_init__(self) -> None:
        """Check the values."""
        if not NAME_PATTERN.fullmatch(self.name):
            raise DataError(f"the concept's name {self.name!r} must be 1 to 63 of a-z, 0-9 and -, such as face")
        if not 0 < self.share < 1:
            raise DataError(f"share={self.share} of distractors must lie between 0 and 1, such as {SHARE}")
        if not all(0 < cut <= MAX_CROP for cut in self.crops) or len(set(self.crops)) < len(self.crops):
            raise DataError(f"crops={self.crops} must be different shares of a side, up to {MAX_CROP}, such as 0.12")


def find_concept(
    trained: LoadedRun,
    examples: Examples,
    protocol: Protocol,
    *,
    compared: Mapping[str, LoadedRun] | None = None,
    second: Examples | None = None,
    training: NDArray[np.uint8] | None = None,
    source: str = "",
    begin: BeginTask = lambda name, total: lambda more: None,
) -> Table:
    """Search a run's units, measure the best one and the controls, and write the results into the run folder.

    Args:
        trained: the run.
        examples: positives and distractors of the run's shape, before matching.
        protocol: what to search, and how.
        compared: other runs to search on the same images, by row name.
        second: a second test set, on which nothing is chosen.
        training: images [M, H, W, C] of the run's training set, for the controls that are made of them.
        source: description of the images.
        begin: called as each task starts; see `training.progress`.

    Raises:
        DataError: if the images do not fit a network, or too few are left.
        RunError: if the run's concepts are damaged, or an extra is not installed.
    """
    for run in (trained, *(compared or {}).values()):
        run.must_fit(examples.images, "the test set")
    known = read_concepts(trained.run.path)
    whole = _chosen(examples, protocol, begin)
    kept = whole.also_cropped(protocol.crops)
    seed, labels = protocol.seed, _labels(kept, protocol.seed)

    def searched(name: str, run: LoadedRun) -> Stages:
        activations = activations_of(run.network, kept.images, report=begin(f"activations of {name}", len(kept)))
        return search_stages(activations, labels, report=begin(f"search of {name}", _units(run)))

    found = searched(trained.run.path.name, trained)
    rows = [found.row(NEURON, labels, seed=seed), *_stage_rows(found, labels, seed)]
    rows += [searched(name, run).row(name, labels, seed=seed) for name, run in (compared or {}).items()]
    if training is not None:
        trained.must_fit(training, "the training images")
        seen, filters = (seen_images(trained.network, images) for images in (kept.images, training))
        rows += image_filters(seen, filters, labels, count=protocol.filters, seed=seed, begin=begin)
    rows += _controls(trained, kept, labels, protocol, begin)
    result = found.found[found.best]
    crops = _by_crop(result, labels, protocol, len(whole))
    neuron = concept(protocol.name, found.best + 1, result, labels, seed=seed)
    if crops:  # a concept's accuracy is that on whole images
        neuron = measured_as(neuron, crops[0.0])
    table = Table(
        concept=neuron,
        rows=rows,
        positives=int(whole.positives.sum()),
        distractors=int((~whole.positives).sum()),
        second=None if second is None else _fixed(trained, second, neuron.stage, result.honest, seed),
        crops=crops,
        source=source,
    )
    folder = trained.run.path / NEURONS_FOLDER / protocol.name
    folder.mkdir(parents=True, exist_ok=True)
    looked_at = Neuron(protocol.name, neuron.stage, neuron.unit, neuron.sign, neuron.threshold)
    draw(folder, trained, looked_at, images=whole.images, positives=whole.positives, seed=seed, begin=begin)
    write_atomically(folder / "table.json", table.to_json().encode())
    write_atomically(folder / "table.md", table.to_markdown().encode())
    write_concepts(trained.run.path, with_concept(known, neuron))
    return table


def name_of(run: LoadedRun) -> str:
    """Return the row name of a compared run: what it lacks in the paper's terms, or its folder's name."""
    settings = run.config.settings.to_dict()
    if settings["units"] == "tanh":
        return PLAIN
    return UNNORMALISED if settings["contrast_window"] == 0 else run.run.path.resolve().name


def _chosen(examples: Examples, protocol: Protocol, begin: BeginTask) -> Examples:
    """Drop images until the two sides match and have the given proportion."""
    report, total = begin("matching", len(examples)), len(examples)
    if protocol.match:
        statistics = image_statistics(examples.images)
        examples = examples.taken(matched(statistics, examples.positives, examples.groups, seed=protocol.seed))
    examples = examples.taken(in_proportion(examples.positives, share=protocol.share, seed=protocol.seed))
    report(total)
    for side, name in ((examples.positives, "positives"), (~examples.positives, "distractors")):
        if np.count_nonzero(side) < MIN_PER_SIDE:
            raise DataError(
                f"of {total} images, matching and a share of {protocol.share} leave {np.count_nonzero(side)} {name}, "
                f"where {MIN_PER_SIDE} are needed: the two sides look too different; give more images, or --no-match"
            )
    return examples


def _labels(examples: Examples, seed: int) -> Labels:
    return Labels(examples.positives, examples.groups, halves(examples.positives, examples.groups, seed=seed))


def _by_crop(result: SearchResult, labels: Labels, protocol: Protocol, count: int) -> dict[float, Measurement]:
    """Measure a result on the reporting half of whole images, then of each crop; empty without crops."""
    if not protocol.crops:
        return {}
    parts = {cut: slice(n * count, (n + 1) * count) for n, cut in enumerate((0.0, *protocol.crops))}
    return {
        cut: measure(
            result.honest,
            result.activations[part],
            Labels(labels.positives[part], labels.groups[part], labels.choosing[part]),
            seed=protocol.seed,
        )
        for cut, part in parts.items()
    }


def _stage_rows(found: Stages, labels: Labels, seed: int) -> list[Row]:
    """Return one row per stage, for its best unit."""
    return [
        row_of(OF_STAGE.format(number), each, labels, seed=seed, where=f"{number}:{each.honest.unit}")
        for number, each in enumerate(found.found, start=1)
    ]


def _controls(
    trained: LoadedRun, examples: Examples, labels: Labels, protocol: Protocol, begin: BeginTask
) -> list[Row]:
    """Return the rows of controls that learned nothing about the concept."""
    seed, config = protocol.seed, trained.config
    device = next(trained.network.parameters()).device
    fresh = fresh_network(config, seed=config.settings.seed + FRESH, device=device)
    activations = activations_of(fresh, examples.images, report=begin("activations, random weights", len(examples)))
    rows = [
        search_stages(activations, labels, report=begin("search, random weights", _units(trained))).row(
            RANDOM_WEIGHTS, labels, seed=seed
        )
    ]
    seen = seen_images(trained.network, examples.images)
    for smooth, name in ((0.0, "random filters"), (SMOOTHNESS, "smooth filters")):
        if protocol.filters:
            report = begin(name, protocol.filters)
            rows.append(random_filters(seen, labels, count=protocol.filters, smooth=smooth, seed=seed, report=report))
    rows.append(statistics_control(image_statistics(examples.images), labels, seed=seed))
    return [*rows, majority(labels)]


def _fixed(trained: LoadedRun, examples: Examples, stage: int, choice: Choice, seed: int) -> Measurement:
    """Measure a choice on a test set that it was not made on."""
    trained.must_fit(examples.images, "the second test set")
    activations: NDArray[np.float32] = activations_of(trained.network, examples.images)[stage - 1][:, choice.unit]
    return decided(choice, activations, examples.positives, groups=examples.groups, seed=seed)


def _units(trained: LoadedRun) -> int:
    return sum(int(np.prod(shape)) for shape in trained.network.unit_shapes)
