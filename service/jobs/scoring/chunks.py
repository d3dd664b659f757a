"""The rows of a score job in order, some thousand at a time: bounded memory, and every sum in the same order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.jobs.plan import Plan
from service.jobs.shards.formats.scores import ScoreReader, open_scores
from service.jobs.shards.marker import Marker
from service.jobs.steps import Steps
from service.jobs.storage.output import Output, OutputError

ROWS = 2048  # of one chunk; 32 MiB of the most features


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of some images.

    Attributes:
        indices: int64 [n], of the images in the job.
        first: number of readable images before the chunk.
        readable: bool [n].
        columns: the model's answers about the m readable ones, [m, ...] by name.
    """

    indices: NDArray[np.int64]
    first: int
    readable: NDArray[np.bool_]
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of readable images."""
        return int(np.count_nonzero(self.readable))


def chunks(output: Output, plan: Plan, markers: Sequence[Marker], *, only: Sequence[str] = ()) -> Iterator[Chunk]:
    """Yield the rows of all shards in order; each shard is hashed before its first row is yielded.

    Args:
        output: the job's folder.
        plan: the job's plan.
        markers: of all shards in order.
        only: names of columns; none means all.

    Raises:
        OutputError: if a shard was changed or does not hold what its plan says, or shards differ in their columns.
    """
    first, before = 0, None
    for marker in markers:
        with open_scores(output, plan, marker) as reader:
            if before is not None and reader.columns.keys() != before:
                raise OutputError("the classifier gives p(generated) for some shards only")
            before = reader.columns.keys()
            for start in range(0, marker.count, ROWS):
                chunk = _chunk(reader, marker, range(start, min(start + ROWS, marker.count)), first, only)
                yield chunk
                first += chunk.count


def count_readable(output: Output, plan: Plan, markers: Sequence[Marker], steps: Steps) -> int:
    """Return how many images were readable; reads no shard where the source is a job, whose images all are."""
    if plan.scoring is None or not plan.scoring.source_folder:
        return plan.count
    total, report = 0, steps.begin("counting readable images", plan.count)
    for marker in markers:
        with open_scores(output, plan, marker, check=False) as reader:
            total += int(np.count_nonzero(reader.rows("readable", range(marker.count))))
        report(marker.count)
    return total


def _chunk(reader: ScoreReader, marker: Marker, rows: range, first: int, only: Sequence[str]) -> Chunk:
    names = [name for name in reader.columns if name != "readable" and (not only or name in only)]
    columns = {name: reader.rows(name, rows) for name in names}
    indices = np.arange(rows.start, rows.stop, dtype=np.int64) + marker.first_index
    if "readable" not in reader.columns:
        return Chunk(indices, first, np.ones(len(rows), np.bool_), columns)
    readable = reader.rows("readable", rows)
    return Chunk(indices, first, readable, {name: values[readable] for name, values in columns.items()})
