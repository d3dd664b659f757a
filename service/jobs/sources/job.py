"""The images of a finished sample job, in whatever format it wrote them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from service.images.resize import converted
from service.jobs.plan import PLAN_FILE, Plan, PlanError, Scoring, read_plan
from service.jobs.shards.formats.choice import layout_of, open_images
from service.jobs.shards.formats.layout import ImageReader
from service.jobs.shards.formats.scores import SourceStats
from service.jobs.shards.marker import read_marker
from service.jobs.shards.publish import data_name
from service.jobs.sources.source import Images
from service.jobs.storage.output import Output, OutputError
from service.jobs.storage.store import Store


class JobSource:
    """A shard of a sample job; `shape` is the height, width and channels that its images are brought to."""

    def __init__(self, images: ImageReader, shape: tuple[int, int, int]) -> None:
        self._images, self._shape = images, shape

    def read(self, indices: range) -> Images:
        """Return images; none is ever missing."""
        pixels = self._images.read(indices)  # [n, H, W, C]
        return Images.all_readable(pixels if pixels.shape[1:] == self._shape else converted(pixels, *self._shape))

    def read_so_far(self) -> SourceStats | None:
        """Say nothing: the marker has the digest of the whole shard."""
        return None


@contextlib.contextmanager
def open_job(store: Store, scored: Plan, scoring: Scoring, shard: int, *, digest: str) -> Iterator[JobSource]:
    """Open a shard of the source job of a score job, hashed first unless `digest` is empty.

    Raises:
        OutputError: if it is not the one with this digest.
    """
    output = store.output(scoring.source_prefix)
    plan = _plan(output, scoring)
    name = f"{plan.prefix}/{data_name(plan, shard)}"
    try:
        if digest and layout_of(plan).digest(output, shard)[0] != digest:
            raise OutputError(f"{name} was changed: it is not what its marker says")
        with open_images(output, plan, shard) as images:
            yield JobSource(images, (scored.height, scored.width, scored.channels))
    except FileNotFoundError:
        raise OutputError(f"{name} is missing") from None


def shard_digest(store: Store, scoring: Scoring, shard: int) -> str:
    """Return the digest of a shard of the source job.

    Raises:
        OutputError: if its marker is missing or damaged.
    """
    marker = read_marker(store.output(scoring.source_prefix), shard)
    if marker is None:
        raise OutputError(f"{scoring.source_prefix} lacks the marker of shard {shard}")
    return marker.digest


def _plan(output: Output, scoring: Scoring) -> Plan:
    """Return the plan of the job whose images are scored.

    Raises:
        OutputError: if it is not there.
    """
    try:
        plan = read_plan(output.read(PLAN_FILE) or b"")
    except PlanError as error:
        raise OutputError(f"{scoring.source_prefix}/{PLAN_FILE}: {error}") from error
    if plan.job != scoring.source_job:
        raise OutputError(f"{scoring.source_prefix} belongs to jobs/{plan.job}, not to jobs/{scoring.source_job}")
    return plan
