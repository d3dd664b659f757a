"""`images.parquet` of a score job: one row per image, to find the best, the worst and the odd ones.

    index                  of the image in the job
    source                 where a folder's image came from: `cats/7.png`, `part-0.tar#12`, `train.parquet#12`
    class, probability     the most probable class; null where the image could not be read
    generated              p(generated), if the classifier can say
    activation.{concept}   of the concept's neuron
    detected.{concept}     whether the concept was detected

The same scores give the same bytes, with the same version of Arrow.
"""

from __future__ import annotations

import contextlib
import itertools
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from service.jobs.plan import Plan
from service.jobs.scoring.chunks import Chunk
from service.jobs.sources.choice import image_names
from service.jobs.storage.output import Output
from service.jobs.storage.store import Store

TABLE_FILE = "images.parquet"
ROW_GROUP = 1 << 16  # rows, kept in memory until they are written
MAX_NAMED = 20  # unreadable images in the result; the table has all of them


class ImageTable:
    """Writes the table; a context manager, after which nothing is left of the table unless it was published."""

    def __init__(self, store: Store, output: Output, plan: Plan) -> None:
        assert plan.scoring is not None  # noqa: S101 - only score jobs have scores
        self._output, self._scoring = output, plan.scoring
        self._classes = pa.array(plan.scoring.classes, pa.string())
        self._names = image_names(store, plan)
        self._stack = contextlib.ExitStack()
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        self.unreadable: list[str] = []  # the first of the images that could not be read

    def __enter__(self) -> ImageTable:
        self._temporary = self._stack.enter_context(self._output.temporary(TABLE_FILE))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._writer is not None:
            self._writer.close()
        self._stack.__exit__(kind, error, None)

    def add(self, chunk: Chunk) -> None:
        """Append the next images."""
        self._waiting.append(pa.table(self._columns(chunk)))
        if sum(len(table) for table in self._waiting) >= ROW_GROUP:
            rows = pa.concat_tables(self._waiting)
            self._write(rows.slice(0, ROW_GROUP))
            self._waiting = [rows.slice(ROW_GROUP)]

    def publish(self) -> None:
        """Write the waiting rows and give the table its name, replacing what had that name."""
        rows = pa.concat_tables(self._waiting)
        if len(rows) or self._writer is None:
            self._write(rows)
        assert self._writer is not None  # noqa: S101 - just written
        self._writer.close()
        self._writer = None
        self._output.replace(self._temporary, TABLE_FILE)

    def _write(self, rows: pa.Table) -> None:
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._temporary.file, rows.schema, compression="zstd")
        self._writer.write_table(rows, row_group_size=ROW_GROUP)

    def _columns(self, chunk: Chunk) -> dict[str, pa.Array]:
        columns = {"index": pa.array(chunk.indices)}
        if self._names is not None:
            names = list(itertools.islice(self._names, len(chunk.indices)))
            columns["source"] = pa.array(names, pa.string())
            missing = [name for name, readable in zip(names, chunk.readable, strict=True) if not readable]
            self.unreadable += missing[: MAX_NAMED - len(self.unreadable)]
        if "probabilities" in chunk.columns:
            probabilities = chunk.columns["probabilities"]
            best = probabilities.argmax(axis=1) if len(probabilities) else np.empty(0, np.int64)  # [m]
            columns["class"] = self._classes.take(_placed(chunk, best))
            columns["probability"] = _placed(chunk, probabilities.max(axis=1, initial=0))
        if "generated" in chunk.columns:
            columns["generated"] = _placed(chunk, chunk.columns["generated"])
        for number, concept in enumerate(self._scoring.concepts):
            columns[f"activation.{concept.name}"] = _placed(chunk, chunk.columns["activations"][:, number])
            columns[f"detected.{concept.name}"] = _placed(chunk, chunk.columns["detected"][:, number])
        return columns


def _placed(chunk: Chunk, values: NDArray[Any]) -> pa.Array:
    """Give each image its value, and null to the unreadable ones: [m] values to [n] images."""
    if len(values) == len(chunk.readable):
        return pa.array(values)
    places = np.maximum(np.cumsum(chunk.readable) - 1, 0)  # [n], where each image's value is in `values` [m]
    spread = values[places] if len(values) else np.zeros(len(places), values.dtype)  # [n]
    return pa.array(spread, mask=~chunk.readable)
