"""A shard's file and its marker: written the same way every time, published once, checked when read back.

`formats` has the file formats. A shard exists if its file does; the marker is written after it.
"""

from __future__ import annotations

from dataclasses import asdict

from service.jobs.faults import crash_point
from service.jobs.plan import Plan, canonical_json
from service.jobs.shards.formats.choice import layout_of
from service.jobs.shards.marker import Marker, marker_name, read_marker
from service.jobs.storage.output import AnyTemporary, Output, OutputError


class DeterminismError(Exception):
    """Raised when a shard was made twice with different bytes; the first file stays."""


def data_name(plan: Plan, shard: int) -> str:
    """Name of a shard's file or folder below the job's folder."""
    return layout_of(plan).name(shard)


def temporary_label(shard: int, attempt: int) -> str:
    """Beginning of the name of an attempt's temporary file."""
    return f"{shard:06d}.{attempt}."


def publish(output: Output, plan: Plan, marker: Marker, temporary: AnyTemporary) -> None:
    """Publish a written shard and its marker; an existing shard must have the same bytes.

    Raises:
        DeterminismError: if it has other bytes.
        OutputError: if what exists is not a whole shard.
    """
    name = data_name(plan, marker.shard)
    if not output.publish(temporary, name):
        _same(plan, marker, _kept_digest(output, plan, marker.shard))
    crash_point("after_publish")
    _mark(output, plan, marker)
    crash_point("after_marker")


def adopt(output: Output, plan: Plan, orphan: Marker) -> Marker | None:
    """Return the marker of a shard whose file exists, after hashing it; None if there is no file.

    A file gets its name only when it is whole, so one without a marker was made by an attempt that died; it gets one.

    Args:
        output: the job's folder.
        plan: the job's plan.
        orphan: the marker to complete with digest and size if there is none.

    Raises:
        OutputError: if the file is not what its marker says.
    """
    try:
        digest, size = layout_of(plan).digest(output, orphan.shard)
    except FileNotFoundError:
        return None
    marker = read_marker(output, orphan.shard)
    if marker is None:
        marker = Marker(**{**asdict(orphan), "digest": digest, "bytes": size})
        _mark(output, plan, marker)
    if marker.digest != digest:
        raise OutputError(f"{data_name(plan, orphan.shard)} was changed: it is not what its marker says")
    return marker


def _kept_digest(output: Output, plan: Plan, shard: int) -> str:
    try:
        return layout_of(plan).digest(output, shard)[0]
    except FileNotFoundError as error:
        raise OutputError(f"{error.filename or data_name(plan, shard)} is missing") from error


def _same(plan: Plan, marker: Marker, digest: str) -> None:
    if marker.digest != digest:
        name = data_name(plan, marker.shard)
        raise DeterminismError(f"{name} was made twice with different bytes: kept {digest}, made {marker.digest}")


def _mark(output: Output, plan: Plan, marker: Marker) -> None:
    """Write the marker after the file; an existing one must name the same bytes."""
    if not output.put(marker_name(marker.shard), canonical_json(asdict(marker))):
        earlier = read_marker(output, marker.shard)
        _same(plan, marker, earlier.digest if earlier else "")
