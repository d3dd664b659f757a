"""Shards of images that tests write, in any format."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from service.jobs.plan import Plan
from service.jobs.shards.formats.choice import image_layout_of
from service.jobs.shards.marker import Marker
from service.jobs.shards.publish import publish
from service.jobs.storage.local_output import LocalOutput
from service.jobs.storage.local_store import LocalStore
from service.jobs.storage.output import Output

FORMATS = ["webdataset-png", "png-folder", "parquet", "npz"]


def marker_of(plan: Plan, shard: int, digest: str = "", size: int = 0, attempt: int = 1) -> Marker:
    """The marker of a shard with these bytes."""
    span = plan.span(shard)
    return Marker(
        shard=shard,
        first_index=span.start,
        count=len(span),
        digest=digest,
        bytes=size,
        attempt=attempt,
        worker="here",
        plan_digest=plan.digest,
    )


def pictures(indices: range, plan: Plan) -> np.ndarray:
    """Images of these indices, uint8 [N, H, W, C], each another one."""
    pixels = np.arange(plan.height * plan.width * plan.channels, dtype=np.int64)
    values = np.array(indices)[:, None] * 37 + pixels * pixels
    images: np.ndarray = values.astype(np.uint8).reshape(-1, plan.height, plan.width, plan.channels)
    return images


def make_shard(output: Output, plan: Plan, shard: int = 0, *, step: int = 3, change: int = 0) -> Marker:
    """Write and publish a shard, `step` images at a time."""
    layout, span = image_layout_of(plan), plan.span(shard)
    with layout.temporary(output, "000000.1.") as temporary:
        writer = layout.writer(temporary, shard)
        for at in range(0, len(span), step):
            writer.add(span[at], pictures(span[at : at + step], plan) + np.uint8(change))
        writer.finish()
        marker = marker_of(plan, shard, writer.digest, writer.size)
        publish(output, plan, marker, temporary)
    return marker


def make_shards(root: Path, plan: Plan, shards: Iterable[int]) -> None:
    """Write and publish shards of a job on a disk."""
    for shard in shards:
        make_shard(output_of(root, plan), plan, shard)


def output_of(root: Path, plan: Plan) -> LocalOutput:
    """Where a job on a disk writes."""
    return LocalStore(root).output(plan.prefix)


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {name: (folder / name).read_bytes() for name in file_names(folder)}


def file_names(folder: Path, *, but: str = "") -> list[str]:
    """The name of every file below a folder that may change meanwhile, but not in the folder `but` directly in it."""
    found: list[str] = []
    for parent, folders, files in os.walk(folder):
        if Path(parent) == folder and but in folders:
            folders.remove(but)
        found += [(Path(parent) / name).relative_to(folder).as_posix() for name in files]
    return sorted(found)
