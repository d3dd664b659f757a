"""The source of a score job; `open_source` reads the images of any of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from service.jobs.plan import Plan
from service.jobs.shards.formats.scores import source_stats
from service.jobs.sources.folder import open_folder
from service.jobs.sources.inputs import InputFolder
from service.jobs.sources.job import open_job, shard_digest
from service.jobs.sources.listing import read_names
from service.jobs.sources.source import Source
from service.jobs.storage.output import OutputError
from service.jobs.storage.store import Store


def open_source(
    store: Store, inputs: Path, plan: Plan, shard: int, *, digest: str = ""
) -> AbstractContextManager[Source]:
    """Open the images that a shard of a score job scores.

    Args:
        store: where jobs write.
        inputs: the folder below which folders may be scored.
        plan: of the score job.
        shard: which of its shards.
        digest: that the source's shard must have, from `source_digest`; '' skips the check.

    Raises:
        OutputError: if the source is not what the plan says.
    """
    assert plan.scoring is not None  # noqa: S101 - only score jobs have a source
    if plan.scoring.source_folder:
        folder = InputFolder(inputs, plan.scoring.source_folder)
        return open_folder(store.output(plan.prefix, existing=True), folder, plan, plan.span(shard))
    return open_job(store, plan, plan.scoring, shard, digest=digest)


def image_names(store: Store, plan: Plan) -> Iterator[str] | None:
    """Yield where each image of a folder came from, in order; None for a job, whose images have only numbers."""
    if plan.scoring is None or not plan.scoring.source_folder:
        return None
    return read_names(store.output(plan.prefix, existing=True), plan)


def source_digest(store: Store, plan: Plan, shard: int) -> str:
    """Return the digest of what a shard scores or has scored; '' for a sample job, and for a folder not yet read.

    Raises:
        OutputError: if the source does not say.
    """
    if plan.scoring is None:
        return ""
    if plan.scoring.source_folder:
        try:
            read = source_stats(store.output(plan.prefix, existing=True), plan, shard)
        except OutputError:  # it is damaged, and will be made again
            return ""
        return read.source_digest if read else ""
    return shard_digest(store, plan.scoring, shard)
