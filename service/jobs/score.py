"""The result of a score job, added up in shard order; the sums are exact, so its bits depend on the images alone."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

from service.jobs.output import Output, OutputError
from service.jobs.plan import Plan, canonical_json
from service.jobs.shards import Marker, data_name
from training.scores.classifier_score import ScoreSums

FILE_NAME = "score.json"


def reduce(output: Output, plan: Plan, markers: Sequence[Marker]) -> dict[str, Any]:
    """Add up all shards in order, write `score.json` and return what it holds.

    Raises:
        OutputError: if a shard was changed, or the scores are of other images than the plan's.
    """
    scoring = plan.scoring
    assert scoring is not None  # noqa: S101 - only score jobs are reduced
    sums: ScoreSums | None = None
    counts = np.zeros(len(scoring.classes), np.int64)
    generated: list[float] = []
    for marker in markers:
        tensors = _tensors(output, plan, marker)
        part = _sums(tensors["probabilities"], plan, marker, scoring.splits)
        sums = part if sums is None else sums + part
        counts += np.bincount(tensors["probabilities"].argmax(axis=1), minlength=len(counts))
        generated += [math.fsum(tensors["generated"])] if "generated" in tensors else []
    assert sums is not None  # noqa: S101 - a plan has at least one shard
    score = sums.score()
    result = {
        "mean": score.mean,
        "standard_deviation": score.std,
        "splits": scoring.splits,
        "images": plan.count,
        "classifier_digest": plan.model_digest,
        "mean_generated_probability": math.fsum(generated) / plan.count if len(generated) == len(markers) else None,
        "class_counts": counts.tolist(),
        "classes": list(scoring.classes),
        "source_job": scoring.source_job,
        "source_root_digest": scoring.source_root_digest,
    }
    output.put(FILE_NAME, canonical_json(result))
    return result


def read(output: Output) -> dict[str, Any] | None:
    """Return the result of a score job, or None if there is none."""
    data = output.read(FILE_NAME)
    return None if data is None else dict(json.loads(data))


def _sums(probabilities: NDArray[np.float32], plan: Plan, marker: Marker, splits: int) -> ScoreSums:
    try:
        return ScoreSums.of(probabilities, first=marker.first_index, total=plan.count, splits=splits)
    except ValueError as error:
        raise OutputError(f"{data_name(plan, marker.shard)}: {error}") from error


def _tensors(output: Output, plan: Plan, marker: Marker) -> dict[str, NDArray[np.float32]]:
    """Read one shard, checked against its marker."""
    data = output.read(data_name(plan, marker.shard))
    if data is None or hashlib.sha256(data).hexdigest() != marker.digest:
        raise OutputError(f"{data_name(plan, marker.shard)} is missing or was changed: it is not what its marker says")
    return load(data)
