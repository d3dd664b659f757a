"""What is done to the samples of a shard: made by a generator (Sampling), or scored by a classifier (Scoring).

`Strike` asks for the input of each request in order, sends it, and stores the answers in order. The three methods block
and run in threads, one at a time each.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Protocol

from service import envelope
from service.errors import FailedPrecondition
from service.jobs.formats.choice import image_layout_of, layout_of, open_images
from service.jobs.formats.layout import ImageReader, ImageWriter, ShardWriter
from service.jobs.output import Output, OutputError, Temporary
from service.jobs.plan import FILE_NAME, Plan, PlanError, Scoring, read_plan
from service.jobs.shards import Marker, TensorWriter, data_name, read_marker
from service.jobs.store import Store

REQUEST_BYTES = 4 << 20
REQUEST_IMAGES = 1024
QUICK_S, SLOW_S = 0.2, 0.8


class Work(Protocol):
    """The part of a strike that differs between the kinds of job."""

    @property
    def writer(self) -> ImageWriter | ShardWriter:
        """Where the shard goes."""

    def request(self, indices: range) -> Mapping[str, bytes]:
        """Return the input of one request; called in order."""

    def store(self, indices: range, answer: bytes) -> None:
        """Check one answer and append it to the shard; called in order."""

    def finish(self) -> None:
        """End the shard's file."""


class SampleWork:
    """Makes images."""

    def __init__(self, plan: Plan, shard: int, temporary: Temporary) -> None:
        self.writer = image_layout_of(plan).writer(temporary, shard)
        self._plan = plan

    def request(self, indices: range) -> Mapping[str, bytes]:
        """Ask for samples of the plan's seed."""
        assert self._plan.sampling is not None  # noqa: S101 - this is a sample job
        return envelope.generate_request(self._plan.sampling.seed, indices.start, len(indices))

    def store(self, indices: range, answer: bytes) -> None:
        """Append images."""
        plan = self._plan
        made = envelope.read_images(answer, (len(indices), plan.height, plan.width, plan.channels))
        check_device(plan, made.device_class, made.torch_version)
        self.writer.add(indices.start, made.images)

    def finish(self) -> None:
        """End the shard."""
        self.writer.finish()


class ScoreWork:
    """Scores the images of a finished shard of the source job."""

    def __init__(self, plan: Plan, shard: int, temporary: Temporary, source: ImageReader) -> None:
        assert plan.scoring is not None  # noqa: S101 - this is a score job
        self.writer = TensorWriter(temporary.file, plan, shard)
        self._plan, self._source, self._classes = plan, source, len(plan.scoring.classes)

    def request(self, indices: range) -> Mapping[str, bytes]:
        """Read the next images of the source."""
        return envelope.classify_request(self._source.read(indices))

    def store(self, indices: range, answer: bytes) -> None:
        """Append probabilities."""
        scored = envelope.read_classifications(answer, (len(indices), self._classes))
        check_device(self._plan, scored.device_class, scored.torch_version)
        self.writer.add(scored.probabilities, scored.generated)

    def finish(self) -> None:
        """End the tensors."""
        self.writer.finish()


@contextlib.contextmanager
def work_on(store: Store, plan: Plan, marker: Marker, temporary: Temporary) -> Iterator[Work]:
    """Open what the marker's shard of a plan needs.

    Raises:
        OutputError: if the shard to score is not the one that the marker names.
    """
    if plan.scoring is None:
        yield SampleWork(plan, marker.shard, temporary)
        return
    output = store.output(plan.scoring.source_prefix)
    source = _source_plan(output, plan.scoring)
    if layout_of(source).digest(output, marker.shard)[0] != marker.source_digest:
        name = f"{source.prefix}/{data_name(source, marker.shard)}"
        raise OutputError(f"{name} was changed: it is not what its marker says")
    with open_images(output, source, marker.shard) as images:
        yield ScoreWork(plan, marker.shard, temporary, images)


def _source_plan(output: Output, scoring: Scoring) -> Plan:
    """Return the plan of the job whose images are scored.

    Raises:
        OutputError: if it is not there.
    """
    try:
        plan = read_plan(output.read(FILE_NAME) or b"")
    except PlanError as error:
        raise OutputError(f"{scoring.source_prefix}/{FILE_NAME}: {error}") from error
    if plan.job != scoring.source_job:
        raise OutputError(f"{scoring.source_prefix} belongs to jobs/{plan.job}, not to jobs/{scoring.source_job}")
    return plan


def source_digest(store: Store, plan: Plan, shard: int) -> str:
    """Return the digest of the shard that a score job's shard scores; empty for a sample job.

    Raises:
        OutputError: if the source's marker is missing or damaged.
    """
    if plan.scoring is None:
        return ""
    marker = read_marker(store.output(plan.scoring.source_prefix), shard)
    if marker is None:
        raise OutputError(f"{plan.scoring.source_prefix} lacks the marker of shard {shard}")
    return marker.digest


class RequestSize:
    """How many micro-batches go into one request: more while answers come quickly, fewer when they take long.

    So a fast model is not slowed by round trips, and a slow one shows progress and leaves room for other callers. What
    is asked for together has no effect on the images.
    """

    def __init__(self) -> None:
        self.micro_batches = 1

    def cut(self, plan: Plan, start: int, stop: int, max_message_bytes: int) -> range:
        """Return the next request's images: whole micro-batches, bounded in images and bytes.

        Only where one micro-batch alone is too large for a message is it cut, at the price of computing it twice.
        """
        image_bytes = plan.height * plan.width * plan.channels
        most = min(REQUEST_IMAGES, REQUEST_BYTES // image_bytes) // plan.micro_batch
        batches = max(min(self.micro_batches, most), 1)
        end = (start // plan.micro_batch + batches) * plan.micro_batch
        return range(start, min(end, stop, start + max(max_message_bytes // 2 // image_bytes, 1)))

    def took(self, seconds: float) -> None:
        """Learn how long one request took."""
        if seconds < QUICK_S:
            self.micro_batches = min(2 * self.micro_batches, REQUEST_IMAGES)
        elif seconds > SLOW_S:
            self.micro_batches = max(self.micro_batches // 2, 1)


def check_device(plan: Plan, device_class: str, torch_version: str) -> None:
    """Refuse an answer from another kind of device, or another torch, than the plan promises equal bytes for.

    Raises:
        FailedPrecondition: if it is from another.
    """
    if (device_class, torch_version) != (plan.device_class, plan.torch_version):
        text = (
            f"the plan was made for {plan.device_class} and torch {plan.torch_version}, but the model now runs on "
            f"{device_class} and torch {torch_version}"
        )
        raise FailedPrecondition(text, reason="DEVICE_CHANGED")
