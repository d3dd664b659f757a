"""Scoring a shard: its images are asked of a classifier, or of the neurons of an autoencoder."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from service.backend.protocol import messages, neuron_messages
from service.jobs.devices import check_device
from service.jobs.plan import Plan, Scoring
from service.jobs.shards.formats.layout import opened
from service.jobs.shards.formats.scores import ScoreWriter, columns_of
from service.jobs.sources.source import Source
from service.jobs.storage.output import AnyTemporary

Rows = dict[str, NDArray[Any] | None]


class ModelQuery(Protocol):
    """What is asked of a kind of model."""

    def request(self, images: NDArray[np.uint8]) -> Mapping[str, bytes]:
        """Write a request about images uint8 [n, H, W, C]."""

    def rows(self, answer: bytes, count: int) -> Rows:
        """Read the answer about `count` images as rows of a shard."""


class ScoreWork:
    """Scores the images of one shard; see `service.jobs.workers.work.Work`."""

    reads: ClassVar[bool] = True

    def __init__(self, plan: Plan, shard: int, temporary: AnyTemporary, source: Source) -> None:
        assert plan.scoring is not None  # noqa: S101 - this is a score job
        self.writer = ScoreWriter(opened(temporary), plan, shard)
        self.source_digest = ""
        self._source = source
        self._query: ModelQuery = _Classify(plan) if plan.scoring.classes else _Detect(plan)
        self._says_readable = bool(plan.scoring.source_folder)
        self._readable: deque[NDArray[np.bool_]] = deque()

    def request(self, indices: range) -> Mapping[str, bytes]:
        """Read the next images of the source; an unreadable one is sent black, and its answer dropped."""
        images = self._source.read(indices)
        self._readable.append(images.readable)
        return self._query.request(images.pixels)

    def store(self, indices: range, answer: bytes) -> None:
        """Append the model's answer."""
        rows, readable = self._query.rows(answer, len(indices)), self._readable.popleft()
        if self._says_readable:
            known = {name: values for name, values in rows.items() if values is not None}
            rows = {name: np.where(_like(readable, values), values, 0) for name, values in known.items()}
            rows["readable"] = readable
        self.writer.add(**rows)

    def finish(self) -> None:
        """End the tensors."""
        read = self._source.read_so_far()
        self.writer.finish(read)
        self.source_digest = read.source_digest if read else ""


class _Classify:
    def __init__(self, plan: Plan) -> None:
        self._plan, self._scoring = plan, _scoring(plan)

    def request(self, images: NDArray[np.uint8]) -> Mapping[str, bytes]:
        return messages.classify_request(images, features=self._scoring.features > 0)

    def rows(self, answer: bytes, count: int) -> Rows:
        shape, features = (count, len(self._scoring.classes)), self._scoring.features
        scored = messages.read_classifications(answer, shape, features=features)
        check_device(self._plan, scored)
        return {
            "probabilities": scored.probabilities,
            "generated": scored.generated,
            "features": scored.features,
        }


class _Detect:
    def __init__(self, plan: Plan) -> None:
        self._plan, self._scoring = plan, _scoring(plan)
        self._concepts = [concept.name for concept in self._scoring.concepts]

    def request(self, images: NDArray[np.uint8]) -> Mapping[str, bytes]:
        return neuron_messages.detect_request(images, self._concepts, features=self._scoring.features > 0)

    def rows(self, answer: bytes, count: int) -> Rows:
        shape, features = (count, len(self._concepts)), self._scoring.features
        detections = neuron_messages.read_detections(answer, shape, features=features)
        check_device(self._plan, detections)
        return {"activations": detections.activations, "detected": detections.detected, "features": detections.features}


def answer_bytes(plan: Plan) -> int:
    """Return the bytes of a model's answer per image of a score job; 0 for a sample job."""
    if plan.scoring is None:
        return 0
    confidences = 4 * len(plan.scoring.concepts)
    return confidences + sum(column.row_bytes for column in columns_of(plan, generated=True).values())


def _scoring(plan: Plan) -> Scoring:
    assert plan.scoring is not None  # noqa: S101 - as above
    return plan.scoring


def _like(mask: NDArray[np.bool_], values: NDArray[Any]) -> NDArray[np.bool_]:
    """Give a mask [n] the number of axes of values [n, ...]."""
    return mask.reshape(-1, *(1,) * (values.ndim - 1))
