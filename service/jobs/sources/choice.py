"""The source of a score job's images. Whoever reads the images of any score job does it with `open_source`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

from service.jobs.plan import Plan
from service.jobs.sources.job import open_job, shard_digest
from service.jobs.sources.source import Source
from service.jobs.store import Store


def open_source(store: Store, plan: Plan, shard: int, *, digest: str = "") -> AbstractContextManager[Source]:
    """Open the images that a shard of a score job scores.

    Args:
        store: where jobs write.
        plan: of the score job.
        shard: which of its shards.
        digest: what the source's shard must have, as `source_digest` says; empty leaves the check out.

    Raises:
        OutputError: if the source is not what the plan says.
    """
    assert plan.scoring is not None  # noqa: S101 - only score jobs have a source
    return open_job(store, plan.scoring, shard, digest=digest)


def image_names(store: Store, plan: Plan) -> Iterator[str] | None:
    """Return where each image of a folder came from, in order; None for a job, whose images have numbers only."""
    return None


def source_digest(store: Store, plan: Plan, shard: int) -> str:
    """Return the digest of what a shard scores, as far as it is known before; empty for a sample job.

    Raises:
        OutputError: if the source does not say.
    """
    return shard_digest(store, plan.scoring, shard) if plan.scoring else ""
