"""The work on the samples of a shard: generating them (Sampling), or scoring them (Scoring).

`Attempt` asks for the input of each request in order, sends it, and stores the answers in order. Methods block and run
in threads, one at a time each; but for `request` where it `reads` nothing, since a thread costs more than that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar, Protocol

from service.backend.protocol import messages
from service.jobs.devices import check_device
from service.jobs.formulas import drawn_latents, most_images
from service.jobs.plan import Plan
from service.jobs.shards.formats.choice import image_layout_of
from service.jobs.shards.formats.layout import ImageWriter, ShardWriter
from service.jobs.shards.marker import Marker
from service.jobs.sources.choice import open_source
from service.jobs.storage.output import AnyTemporary
from service.jobs.storage.store import Store
from service.jobs.workers.score_work import ScoreWork, answer_bytes

REQUEST_BYTES = 4 << 20  # of pixels in one request at most: large enough to hide round trips, small in memory
REQUEST_IMAGES = 1024  # so that small images still show progress
QUICK_S, SLOW_S = 0.2, 0.8  # a request that takes less grows, one that takes more shrinks: progress every second


class Work(Protocol):
    """The part of an attempt that differs between the kinds of job."""

    reads: ClassVar[bool]  # whether `request` reads files

    @property
    def writer(self) -> ImageWriter | ShardWriter:
        """Where the shard goes."""

    @property
    def source_digest(self) -> str:
        """Digest of what was scored, unless known before; after `finish`."""

    def request(self, indices: range) -> Mapping[str, bytes]:
        """Return the input of one request; called in order."""

    def store(self, indices: range, answer: bytes) -> None:
        """Check one answer and append it to the shard; called in order."""

    def finish(self) -> None:
        """End the shard's file."""


class SampleWork:
    """Makes images."""

    reads: ClassVar[bool] = False

    def __init__(self, plan: Plan, shard: int, temporary: AnyTemporary) -> None:
        self.writer = image_layout_of(plan).writer(temporary, shard)
        self.source_digest = ""
        self._plan = plan

    def request(self, indices: range) -> Mapping[str, bytes]:
        """Ask for samples of the plan's seed, or for what its formulas say."""
        assert self._plan.sampling is not None  # noqa: S101 - this is a sample job
        drawn = drawn_latents(self._plan, indices)
        if drawn is not None:
            return drawn.request(0, len(indices))
        return messages.generate_request(self._plan.sampling.seed, indices.start, len(indices))

    def store(self, indices: range, answer: bytes) -> None:
        """Append images."""
        plan = self._plan
        made = messages.read_images(answer, (len(indices), plan.height, plan.width, plan.channels))
        check_device(plan, made)
        self.writer.add(indices.start, made.images)

    def finish(self) -> None:
        """End the shard."""
        self.writer.finish()


@contextlib.contextmanager
def work_on(store: Store, inputs: Path, plan: Plan, marker: Marker, temporary: AnyTemporary) -> Iterator[Work]:
    """Open what the marker's shard of a plan needs; `inputs` is the folder below which folders may be scored.

    Raises:
        OutputError: if the images to score are not those that the marker names.
    """
    if plan.scoring is None:
        yield SampleWork(plan, marker.shard, temporary)
        return
    with open_source(store, inputs, plan, marker.shard, digest=marker.source_digest) as source:
        yield ScoreWork(plan, marker.shard, temporary, source)


class RequestSize:
    """How many images go into one request: more while answers come quickly, fewer when they take long.

    So round trips do not slow a fast model, and a slow one shows progress and leaves slots for other callers. The size
    of a request has no effect on the bytes. Where an image's bits depend on the others in its forward pass, requests
    are whole micro-batches, so that it always sits in the same row of the same one. A generator counts rows from sample
    0; a model that scores counts them from the beginning of a request, so requests of a score job begin whole
    micro-batches after the beginning of their shard.

    Args:
        first: Images of the first request.
    """

    def __init__(self, first: int) -> None:
        self.images = first

    def cut(self, plan: Plan, start: int, stop: int, max_message_bytes: int) -> range:
        """Return the next request's images, bounded in images and bytes.

        Only where one micro-batch alone is too large for a message is it cut, at the price of computing it twice.
        """
        image_bytes = max(plan.height * plan.width * plan.channels, answer_bytes(plan))
        fitting = min(max(max_message_bytes // 2 // image_bytes, 1), most_images(plan))
        step = 1 if plan.rows_free else plan.micro_batch
        steps = max(min(self.images, REQUEST_BYTES // image_bytes, fitting) // step, 1)
        origin = 0 if plan.sampling else start // plan.shard_size * plan.shard_size
        end = origin + ((start - origin) // step + steps) * step
        return range(start, min(end, stop, start + fitting))

    def took(self, seconds: float) -> None:
        """Adapt to how long a request took."""
        if seconds < QUICK_S:
            self.images = min(2 * self.images, REQUEST_IMAGES)
        elif seconds > SLOW_S:
            self.images = max(self.images // 2, 1)
