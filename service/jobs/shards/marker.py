"""The marker of a finished shard, `.mintage/000000.json`: written after the shard, in every format."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from service.jobs.plan import VERSION, Digest, Natural, NewerError, Plan, Positive, check_version
from service.jobs.storage.output import HIDDEN, Output, OutputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """The facts about a finished shard, as its marker states them."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    version: Literal[6] = VERSION
    shard: Natural
    first_index: Natural
    count: Positive
    digest: Digest
    bytes: Natural
    attempt: Natural
    worker: str
    plan_digest: Digest
    source_digest: Annotated[str, Field(pattern=r"^([0-9a-f]{64})?$")] = ""


def marker_name(shard: int) -> str:
    """Name of a shard's marker below the job's folder."""
    return f"{HIDDEN}/{shard:06d}.json"


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
        try:
            check_version(data)
        except NewerError as error:
            raise OutputError(f"{marker_name(shard)}: {error}") from None
        raise OutputError(f"{marker_name(shard)} is damaged") from None


def sound_marker(output: Output, plan: Plan, shard: int) -> Marker | None:
    """Return a shard's marker if there is one and it is about this shard of this plan."""
    try:
        marker = read_marker(output, shard)
    except OutputError:
        return None
    return marker if marker is not None and is_about(marker, plan, shard) else None


def is_about(marker: Marker, plan: Plan, shard: int) -> bool:
    """Whether a marker is about this shard of this plan."""
    span = plan.span(shard)
    said = (marker.shard, marker.first_index, marker.count, marker.plan_digest)
    return said == (shard, span.start, len(span), plan.digest)


_MARKER = TypeAdapter(Marker)
