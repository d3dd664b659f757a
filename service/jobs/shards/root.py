"""The markers of a job's finished shards in order, and the one digest over them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from service.jobs.plan import Plan
from service.jobs.shards.formats.choice import layout_of
from service.jobs.shards.marker import Marker, read_marker
from service.jobs.shards.publish import data_name
from service.jobs.storage.output import Output, OutputError


def finished_markers(output: Output, plan: Plan) -> Iterator[Marker]:
    """Yield the markers of all finished shards in order; their files must exist in full size.

    Raises:
        OutputError: if one is damaged, belongs to another plan, or its file has another size.
    """
    for shard in range(plan.shards):
        marker = read_marker(output, shard)
        if marker is not None:
            if marker.plan_digest != plan.digest:
                raise OutputError(f"the marker of shard {shard} belongs to another plan")
            if layout_of(plan).size(output, shard) != marker.bytes:
                raise OutputError(f"{data_name(plan, shard)} is missing or was changed: it is not what its marker says")
            yield marker


def root_digest(digests: Iterable[str]) -> str:
    """SHA-256 over digests in order, one per line: what `sha256sum | cut -c1-64 | sha256sum` prints."""
    total = hashlib.sha256()
    for digest in digests:
        total.update(digest.encode() + b"\n")
    return total.hexdigest()
