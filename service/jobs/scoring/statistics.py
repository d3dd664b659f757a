"""The statistics by which two sets of images are compared: moments of all features, and the features of some images.

A reference is read once: its statistics are kept in its own job's folder, beside the root digest of its shards and the
file's own digest. A file that was changed is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from service.jobs.plan import Plan, canonical_json
from service.jobs.scoring.chunks import Chunk, chunks, count_readable
from service.jobs.shards.root import finished_markers, root_digest
from service.jobs.steps import Steps
from service.jobs.storage.output import Output, OutputError
from training.scores.chosen import chosen_images
from training.scores.frechet import Moments

STATISTICS_FILE, FACTS_FILE = "reference.safetensors", "reference.json"
MAX_ROWS, SEED = 10_000, 0  # images compared pairwise, whose cost is quadratic; drawn by this seed

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Moments of all images' features, and the features float32 [m, F] of the chosen ones, in order."""

    moments: Moments
    rows: NDArray[np.float32]


class StatisticsSums:
    """Adds up the statistics of a set of images chunk by chunk, in order."""

    def __init__(self, images: int, features: int) -> None:
        self._moments: Moments | None = None
        self._chosen = chosen_images(images, MAX_ROWS, seed=SEED)
        self._rows = np.empty((len(self._chosen), features), np.float32)  # [chosen, F]

    def add(self, chunk: Chunk) -> None:
        """Add the next images."""
        features = chunk.columns["features"]  # [m, F]
        if not len(features):
            return
        part = Moments.of(features)
        self._moments = part if self._moments is None else self._moments + part
        begin, end = np.searchsorted(self._chosen, [chunk.first, chunk.first + len(features)])
        self._rows[begin:end] = features[self._chosen[begin:end] - chunk.first]

    def statistics(self) -> Statistics:
        """Return the statistics of all images added.

        Raises:
            OutputError: if there was no image.
        """
        if self._moments is None:
            raise OutputError("there is no image to compare")
        return Statistics(self._moments, self._rows)


def statistics_of(output: Output, plan: Plan, root: str, steps: Steps) -> Statistics:
    """Return the statistics of a finished score job: those in its folder, or made from its shards and put there.

    Args:
        output: the job's folder.
        plan: its plan.
        root: the root digest that its shards must have.
        steps: told how far it is.

    Raises:
        OutputError: if a shard was changed.
        FileNotFoundError: if the job is gone.
    """
    facts = _facts(plan, root)
    known = _known(output, facts)
    if known is not None:
        return known
    markers = list(finished_markers(output, plan))
    if root_digest(marker.digest for marker in markers) != root:
        raise OutputError("its shards were changed since it was named as the reference")
    features = plan.scoring.features if plan.scoring else 0
    sums = StatisticsSums(count_readable(output, plan, markers, steps), features)
    report = steps.begin("reading the reference", plan.count)
    for chunk in chunks(output, plan, markers, only=("features",)):
        sums.add(chunk)
        report(len(chunk.indices))
    made = sums.statistics()
    with contextlib.suppress(FileNotFoundError):  # another process keeps the same now, and has tidied up
        _keep(output, facts, made)
    output.remove_temporaries()
    return made


def _facts(plan: Plan, root_digest: str) -> dict[str, Any]:
    """What decides the statistics."""
    return {"root_digest": root_digest, "plan_digest": plan.digest, "most_rows": MAX_ROWS, "seed": SEED}


def _known(output: Output, facts: dict[str, Any]) -> Statistics | None:
    """Return the statistics in the folder, if they have these facts and were not changed."""
    try:
        recorded = json.loads(output.read(FACTS_FILE) or b"null")
        data = output.read(STATISTICS_FILE)
        if data is None or recorded != {**facts, "digest": hashlib.sha256(data).hexdigest()}:
            if data is not None:
                log.warning("the statistics of a reference are made anew", folder=output.prefix)
            return None
        tensors = load(data)
        moments = Moments(int(tensors["count"][0]), tensors["total"], tensors["products"])
        return Statistics(moments, tensors["rows"])
    except (ValueError, KeyError, SafetensorError):
        return None


def _keep(output: Output, facts: dict[str, Any], made: Statistics) -> None:
    """Put statistics into the folder: the numbers first, then the facts and the digest that complete them."""
    moments = made.moments
    data = save(
        {
            "count": np.array([moments.count], np.int64),
            "total": moments.total,
            "products": moments.products,
            "rows": made.rows,
        }
    )
    digest = hashlib.sha256(data).hexdigest()
    for name, content in ((STATISTICS_FILE, data), (FACTS_FILE, canonical_json({**facts, "digest": digest}))):
        with output.temporary(name) as temporary:
            temporary.file.write(content)
            output.replace(temporary, name)
