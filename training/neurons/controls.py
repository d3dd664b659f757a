"""The controls that a concept neuron must beat, Le et al. 2012, section 4.3, and one of our own: image statistics."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.neurons.linear import logistic
from training.neurons.matching import held_out
from training.neurons.search import Activations, Choice, Labels, SearchResult, search, unit_blocks
from training.neurons.table import FILTERS, MAJORITY, SMOOTH_FILTERS, STATISTICS, Row, row_of
from training.progress import Report

FILTERS_TRIED = 100_000  # random filters of each kind
FILTERS_AT_ONCE = 1000  # bounds the memory of their responses
SMOOTHNESS = 1 / 16  # standard deviation of the blur of smooth filters, as a share of the image's side


def majority(labels: Labels) -> Row:
    """The control that always gives the more frequent answer of the choosing half."""
    chosen = labels.positives[labels.choosing].mean() > 0.5
    return Row(
        name=MAJORITY,
        paper=float(max(labels.positives.mean(), 1 - labels.positives.mean())),
        honest=float((labels.positives[~labels.choosing] == chosen).mean()),
    )


def statistics_control(statistics: NDArray[np.float64], labels: Labels, *, seed: int) -> Row:
    """The better of a linear and a quadratic logistic model of image statistics [N, S], at even odds.

    The threshold is the model's own: the search's 20, equally spaced between the lowest and the highest odds, may all
    lie far from even ones, since the odds of single images are extreme.
    """
    rows = []
    for quadratic in (False, True):
        model = logistic(quadratic=quadratic)
        odds = held_out(model, statistics, labels.positives, labels.groups, seed=seed)
        fitted = model.fit(statistics[labels.choosing], labels.positives[labels.choosing])
        found = fitted.decision_function(statistics)
        paper = Choice(0, 1, 0.0, float(((odds > 0) == labels.positives).mean()))
        honest = Choice(0, 1, 0.0, float(((found > 0) == labels.positives)[labels.choosing].mean()))
        rows.append(row_of(STATISTICS, SearchResult(paper, honest, found), labels, seed=seed))
    return max(rows, key=lambda row: row.paper)


def random_filters(
    seen: NDArray[np.float32],
    labels: Labels,
    *,
    count: int = FILTERS_TRIED,
    smooth: float = 0.0,
    seed: int,
    report: Report = lambda _: None,
) -> Row:
    """Search random linear filters, white Gaussian noise over the whole image.

    Args:
        seen: [N, C, H, W] images as the network's input.
        labels: of the N images.
        count: number of filters.
        smooth: standard deviation of the filters' blur, as a share of the image's side; 0 for white filters.
        seed: of the filters and of the bootstrap.
        report: called with the number of filters just done.
    """
    # <blurred filter, image> = <filter, blurred image>, for the blur is symmetric: N images are fewer than filters.
    pixels = (_blurred(seen, smooth) if smooth else seen).reshape(len(seen), -1)
    found = search(_responses(pixels, count, seed), labels, report=report)
    return row_of(SMOOTH_FILTERS if smooth else FILTERS, found, labels, seed=seed)


@dataclass(frozen=True, slots=True, eq=False)
class Stages:
    """The search results of all stages of a network."""

    found: Sequence[SearchResult]

    @property
    def best(self) -> int:
        """The index of the stage that is best on the choosing half; the topmost of equals."""
        return max(range(len(self.found)), key=lambda stage: (self.found[stage].honest.accuracy, stage))

    def row(self, name: str, labels: Labels, *, seed: int) -> Row:
        """Return the row of the network's best unit by either protocol."""
        chosen = self.found[self.best]
        paper = max((each.paper for each in self.found), key=lambda choice: choice.accuracy)
        where = f"{self.best + 1}:{chosen.honest.unit}"
        return row_of(name, dataclasses.replace(chosen, paper=paper), labels, seed=seed, where=where)


def search_stages(activations: Sequence[Activations], labels: Labels, *, report: Report = lambda _: None) -> Stages:
    """Search the units of all stages, given the activations [N, U] of each."""
    return Stages([search(unit_blocks(stage), labels, report=report) for stage in activations])


def _responses(pixels: NDArray[np.float32], count: int, seed: int) -> Iterator[NDArray[np.float32]]:
    """Yield the responses [N, B] of random filters, block by block."""
    random = np.random.default_rng([seed, 5])
    for start in range(0, count, FILTERS_AT_ONCE):
        filters = random.standard_normal((pixels.shape[1], min(FILTERS_AT_ONCE, count - start)), np.float32)
        yield pixels @ filters


def _blurred(images: NDArray[np.float32], smooth: float) -> NDArray[np.float32]:
    """Blur [N, C, H, W] with a Gaussian, clipped at the borders."""
    down, across = (_gaussian(side, smooth * side) for side in images.shape[2:])
    return (down @ images @ across).astype(np.float32)


def _gaussian(side: int, deviation: float) -> NDArray[np.float32]:
    places = np.arange(side)
    return np.exp(-0.5 * ((places[:, None] - places) / deviation) ** 2).astype(np.float32)
