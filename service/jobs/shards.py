"""A shard's file and its marker: written the same way every time, published once, read back with suspicion.

`formats` has the files of sample jobs, `score_shards` those of score jobs. A shard exists if its file does; the marker
is written after it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, ClassVar

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from service.jobs.faults import crash_point
from service.jobs.formats.choice import layout_of
from service.jobs.output import Output, OutputError, Temporary
from service.jobs.plan import Digest, Natural, Plan, Positive, canonical_json


class DeterminismError(Exception):
    """Raised when a shard was struck twice with different bytes; the first file stays."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """What is known of a finished shard: `{shard}.json` beside it."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    shard: Natural
    first_index: Natural
    count: Positive
    digest: Digest
    bytes: Natural
    attempt: Natural
    worker: str
    plan_digest: Digest
    encoder: str
    source_digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""


_MARKER = TypeAdapter(Marker)


def data_name(plan: Plan, shard: int) -> str:
    """Name of a shard's file or folder below the job's folder."""
    return layout_of(plan).name(shard)


def marker_name(shard: int) -> str:
    """Name of a shard's marker below the job's folder."""
    return f"shards/{shard:06d}.json"


def temporary_label(shard: int, attempt: int) -> str:
    """Beginning of the name of an attempt's temporary file."""
    return f"{shard:06d}.{attempt}."


def publish(output: Output, plan: Plan, marker: Marker, temporary: Temporary) -> None:
    """Publish a written shard and its marker; a shard that is there already must have the same bytes.

    Raises:
        DeterminismError: if it has not.
    """
    name = data_name(plan, marker.shard)
    if not output.publish(temporary, name):
        _same(plan, marker, layout_of(plan).digest(output, marker.shard)[0])
    crash_point("after_publish")
    _mark(output, plan, marker)
    crash_point("after_marker")


def adopt(output: Output, plan: Plan, orphan: Marker) -> Marker | None:
    """Return the marker of a shard whose file is there, after hashing it; None if there is no file.

    A file gets its name only when it is whole, so one without a marker was struck by an attempt that died; it gets one.

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


def read_marker(output: Output, shard: int) -> Marker | None:
    """Return a shard's marker, or None if there is none.

    Raises:
        OutputError: if it is damaged.
    """
    data = output.read(marker_name(shard))
    if data is None:
        return None
    try:
        return _MARKER.validate_json(data)
    except ValidationError:
        raise OutputError(f"{marker_name(shard)} is damaged") from None


def _same(plan: Plan, marker: Marker, digest: str) -> None:
    if marker.digest != digest:
        name = data_name(plan, marker.shard)
        raise DeterminismError(f"{name} was struck twice with different bytes: kept {digest}, made {marker.digest}")


def _mark(output: Output, plan: Plan, marker: Marker) -> None:
    """Write the marker after the file; one that is there already must name the same bytes."""
    if not output.put(marker_name(marker.shard), canonical_json(asdict(marker))):
        earlier = read_marker(output, marker.shard)
        _same(plan, marker, earlier.digest if earlier else "")
