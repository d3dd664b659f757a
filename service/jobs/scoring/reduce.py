"""The result of a score job, added up in shard order: its bits do not depend on the order in which shards finished."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.jobs.plan import Plan, Scoring, canonical_json
from service.jobs.scoring.chunks import Chunk, chunks, count_readable
from service.jobs.scoring.comparison import compared
from service.jobs.scoring.report.page import SCORE_FILE
from service.jobs.scoring.report.summary import Summary
from service.jobs.scoring.statistics import StatisticsSums
from service.jobs.shards.formats.layout import replaced
from service.jobs.shards.formats.scores import source_stats
from service.jobs.shards.marker import Marker
from service.jobs.shards.root import root_digest
from service.jobs.sources.folder import allowed_unreadable
from service.jobs.sources.inputs import SourceError
from service.jobs.steps import Steps
from service.jobs.storage.output import Output, OutputError
from service.jobs.storage.store import Store
from training.scores.classifier_score import ScoreError, ScoreSums

UNIT = 2**40  # p(generated) is added up in units of 2^-40, where addition is exact


def reduce(
    store: Store, output: Output, plan: Plan, markers: Sequence[Marker], steps: Steps
) -> tuple[dict[str, Any], Summary]:
    """Add up all shards in order, write `images.parquet` and `score.json`, and return what the latter holds.

    Memory does not grow with the number of images, except by the number of shards. The summary is for the report;
    `steps` is told how far it is.

    Raises:
        OutputError: if a shard was changed, or the scores are of other images than the plan's.
    """
    scoring = plan.scoring
    assert scoring is not None  # noqa: S101 - only score jobs are reduced
    from service.jobs.scoring.image_table import ImageTable  # noqa: PLC0415 - only the dispatcher needs Arrow

    images = count_readable(output, plan, markers, steps)
    _check_readable(plan, images)
    parts: list[_Classes | _Concepts] = [_Classes(scoring, images) if scoring.classes else _Concepts(scoring)]
    sums = StatisticsSums(images, scoring.features) if scoring.reference_job and scoring.features else None
    summary = Summary(plan, images)
    report = steps.begin("adding up the scores", plan.count)
    with _explained(), ImageTable(store, output, plan) as table:
        for chunk in chunks(output, plan, markers):
            for part in (*parts, table, summary, *([sums] if sums else [])):
                part.add(chunk)
            report(len(chunk.indices))
        table.publish()
        result = {
            "images": images,
            "model_digest": plan.model_digest,
            **_source(output, plan, markers),
            **parts[0].result(),
            **_unreadable(plan, images, table.unreadable),
            "distributions": summary.distributions(),
            **({"comparison": compared(store, plan, sums.statistics(), steps)} if sums is not None else {}),
        }
    data = canonical_json(result)
    replaced(output, SCORE_FILE, [data])
    return dict(json.loads(data)), summary


def read(output: Output) -> dict[str, Any] | None:
    """Return the result of a score job, or None if there is none."""
    data = output.read(SCORE_FILE)
    return None if data is None else dict(json.loads(data))


def _check_readable(plan: Plan, images: int) -> None:
    """Refuse to score a folder with too many unreadable images."""
    unreadable, allowed = plan.count - images, allowed_unreadable(plan.count)
    if unreadable > allowed:
        text = f"{unreadable:,} of {plan.count:,} images could not be read, at most {allowed:,} may"
        raise SourceError(f"{text}; the workers' logs name them")


def _unreadable(plan: Plan, images: int, first: list[str]) -> dict[str, Any]:
    """Say how many images of a folder were left out, and which were the first of them."""
    if images == plan.count:
        return {}
    return {"unreadable": plan.count - images, "unreadable_images": first}


def _source(output: Output, plan: Plan, markers: Sequence[Marker]) -> dict[str, Any]:
    """Describe what was scored."""
    scoring = plan.scoring
    assert scoring is not None  # noqa: S101 - as above
    if scoring.source_job:
        known = {"source_job": scoring.source_job, "source_root_digest": scoring.source_root_digest}
        return known if not scoring.source_shape else known | {"resize": _resized(plan, plan.count)}
    read = [source_stats(output, plan, marker.shard) for marker in markers]
    resized = sum(each.resized for each in read if each)
    return {
        "source_folder": scoring.source_folder,
        "source_listing": scoring.source_listing,
        "source_passed_over": [dataclasses.asdict(each) for each in scoring.source_passed_over],
        "source_digest": root_digest(each.source_digest for each in read if each),
        "resize": _resized(plan, resized) if resized else "none",
    }


def _resized(plan: Plan, images: int) -> str:
    return f"{images} images to {plan.width}x{plan.height}, largest centred part, Lanczos"


class _Classes:
    """Adds up the answers of a classifier."""

    def __init__(self, scoring: Scoring, images: int) -> None:
        self._scoring, self._images, self._splits = scoring, images, min(scoring.splits, images)
        self._sums: ScoreSums | None = None
        self._counts = np.zeros(len(scoring.classes), np.int64)  # [K]
        self._generated: int | None = None

    def add(self, chunk: Chunk) -> None:
        probabilities = chunk.columns["probabilities"]  # [m, K]
        if not len(probabilities):
            return
        part = ScoreSums.of(probabilities, first=chunk.first, total=self._images, splits=self._splits)
        self._sums = part if self._sums is None else self._sums + part
        self._counts += np.bincount(probabilities.argmax(axis=1), minlength=len(self._counts))
        if "generated" in chunk.columns:
            units = np.rint(chunk.columns["generated"].astype(np.float64) * UNIT).astype(np.int64)
            self._generated = (self._generated or 0) + int(units.sum())

    def result(self) -> dict[str, Any]:
        if self._sums is None:
            raise OutputError("there is no image to score")
        score = self._sums.score()
        mean = None if self._generated is None else self._generated / UNIT / self._images
        return {
            "mean": score.mean,
            "standard_deviation": score.std,
            "splits": self._splits,
            "mean_generated_probability": mean,
            "class_counts": self._counts.tolist(),
            "classes": list(self._scoring.classes),
        }


class _Concepts:
    """Adds up the answers of concept neurons."""

    def __init__(self, scoring: Scoring) -> None:
        self._scoring = scoring
        self._images = 0
        self._detected = np.zeros(len(scoring.concepts), np.int64)  # [C]
        self._activations: list[list[float]] = [[] for _ in scoring.concepts]

    def add(self, chunk: Chunk) -> None:
        self._images += chunk.count
        self._detected += np.count_nonzero(chunk.columns["detected"], axis=0)
        activations: NDArray[np.float64] = chunk.columns["activations"].astype(np.float64)
        for sums, column in zip(self._activations, activations.T, strict=True):
            sums.append(math.fsum(column.tolist()))

    def result(self) -> dict[str, Any]:
        if not self._images:
            raise OutputError("there is no image to score")
        found = zip(self._scoring.concepts, self._detected.tolist(), self._activations, strict=True)
        return {
            "concepts": [
                {
                    "concept": concept.name,
                    "detected": detected,
                    "mean_activation": math.fsum(sums) / self._images,
                    "threshold": concept.threshold,
                    "sign": concept.sign,
                }
                for concept, detected, sums in found
            ]
        }


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn scores that cannot be added up into OutputError: no model gives such scores."""
    try:
        yield
    except ScoreError as error:
        raise OutputError(f"the scores cannot be added up: {error}") from error
