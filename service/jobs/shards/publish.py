"""A shard's file and its marker: written the same way every time, published once, checked when read back.

`formats` has the file formats. The marker is written after the file and vouches for it. What the ledger, or else the
marker, says is *recorded*: a file that differs from it is damaged, and replaced once the same bytes were made again.
"""

from __future__ import annotations

from dataclasses import asdict, replace

from service.jobs.faults import crash_point
from service.jobs.plan import Plan, canonical_json
from service.jobs.shards.formats.choice import layout_of
from service.jobs.shards.marker import Marker, marker_name, sound_marker
from service.jobs.storage.output import AnyTemporary, Output, OutputError


class DeterminismError(Exception):
    """Raised when a shard was made twice with different bytes; the first file stays."""

    reason = "DETERMINISM_VIOLATION"


def data_name(plan: Plan, shard: int) -> str:
    """Name of a shard's file or folder below the job's folder."""
    return layout_of(plan).name(shard)


def temporary_label(shard: int, attempt: int) -> str:
    """Beginning of the name of an attempt's temporary file."""
    return f"{shard:06d}.{attempt}."


def publish(output: Output, plan: Plan, marker: Marker, temporary: AnyTemporary, *, recorded: str = "") -> None:
    """Publish a written shard and its marker; where its bytes are recorded, they must be the same.

    A file that is there already and differs, though nothing that is recorded speaks for it, is replaced.

    Args:
        output: the job's folder.
        plan: the job's plan.
        marker: of what was written.
        temporary: what was written.
        recorded: the digest that the ledger has of this shard, if it was committed before.

    Raises:
        DeterminismError: if other bytes are recorded; then nothing is replaced.
        OutputError: if something is in the way.
    """
    _check_recorded(output, plan, marker, recorded)
    name = data_name(plan, marker.shard)
    if not output.publish(temporary, name) and _kept_digest(output, plan, marker.shard) != marker.digest:
        _check_recorded(output, plan, marker, recorded)
        output.replace(temporary, name)
        if layout_of(plan).digest(output, marker.shard)[0] != marker.digest:
            raise OutputError(f"{name} is being changed by something else")
    crash_point("after_publish")
    _mark(output, plan, marker)
    crash_point("after_marker")


def adopt(output: Output, plan: Plan, blank: Marker, *, recorded: str = "") -> Marker | None:
    """Return the marker of a shard whose file is what is recorded, after hashing it; None if it must be made.

    A damaged marker beside such a file is written again. A file that nothing speaks for is not trusted: the attempt
    that left it died, or the store kept only part of it.

    Args:
        output: the job's folder.
        plan: the job's plan.
        blank: the marker to complete with digest and size if there is none.
        recorded: as for `publish`.
    """
    marker = sound_marker(output, plan, blank.shard)
    expected = recorded or (marker.digest if marker else "")
    try:
        digest, size = layout_of(plan).digest(output, blank.shard)
    except (FileNotFoundError, OutputError):
        return None
    if digest != expected:
        return None
    if marker is None or (marker.digest, marker.bytes) != (digest, size):
        marker = replace(blank, digest=digest, bytes=size)
        _mark(output, plan, marker)
    return marker


def _check_recorded(output: Output, plan: Plan, marker: Marker, recorded: str) -> None:
    """Refuse bytes that are not the recorded ones. A marker that the file itself gives the lie does not count."""
    said = recorded
    if not said:
        known = sound_marker(output, plan, marker.shard)
        if known is not None and marker.digest not in (known.digest, _kept_digest(output, plan, marker.shard)):
            said = known.digest
    if said not in ("", marker.digest):
        name = data_name(plan, marker.shard)
        raise DeterminismError(f"{name} was made twice with different bytes: recorded {said}, made {marker.digest}")


def _kept_digest(output: Output, plan: Plan, shard: int) -> str:
    """Return the digest of what has the shard's name; '' if that is no whole shard."""
    try:
        return layout_of(plan).digest(output, shard)[0]
    except (FileNotFoundError, OutputError):
        return ""


def _mark(output: Output, plan: Plan, marker: Marker) -> None:
    """Write the marker after the file; one that is not about these bytes is replaced."""
    data, name = canonical_json(asdict(marker)), marker_name(marker.shard)
    if output.put(name, data):
        return
    earlier = sound_marker(output, plan, marker.shard)
    if earlier is None or (earlier.digest, earlier.bytes) != (marker.digest, marker.bytes):
        with output.temporary(name.rpartition("/")[2]) as temporary:
            temporary.file.write(data)
            output.replace(temporary, name)
