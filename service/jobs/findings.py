"""What can be wrong with a job's files: each check compares what lies on disk with what was committed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from service.jobs.finalize import MANIFEST
from service.jobs.formats.choice import layout_of
from service.jobs.formats.folder import StrangeFileError
from service.jobs.marker import marker_name, read_marker
from service.jobs.output import Output, OutputError
from service.jobs.plan import FILE_NAME, MAX_SHARDS, Digest, Plan
from service.jobs.shards import data_name
from service.jobs.views import JobView
from service.validation import JOB_FILE

FileName = Annotated[str, Field(pattern=rf"^{JOB_FILE.pattern}$")]
Kind = Literal["MISSING", "WRONG_DIGEST", "WRONG_MARKER", "WRONG_IMAGE", "WRONG_MANIFEST"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be; without a shard it is about the whole job."""

    kind: Kind
    shard: int | None = None
    expected: str = ""
    found: str = ""
    detail: str = ""
    index: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedShard:
    """A shard in a manifest."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True)

    shard: Annotated[int, Field(ge=0, lt=MAX_SHARDS)]
    first_index: int
    count: int
    digest: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A manifest as it lies on disk."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True)

    job: str
    plan_digest: str
    state: str
    root_digest: str
    shards: list[ListedShard]
    files: dict[FileName, Digest] = field(default_factory=dict)

    @property
    def digests(self) -> dict[int, str]:
        """What it says of each shard."""
        return {listed.shard: listed.digest for listed in self.shards}


_MANIFEST = TypeAdapter(Manifest)


def read_manifest(output: Output) -> Manifest | Finding:
    """Return the manifest, or what is wrong with it."""
    try:
        data = output.read(MANIFEST)
        return _MANIFEST.validate_json(data) if data is not None else _wrong_manifest(f"{MANIFEST} is missing")
    except ValidationError:
        return _wrong_manifest(f"{MANIFEST} is damaged")
    except (OSError, OutputError) as error:
        return _wrong_manifest(f"{MANIFEST} cannot be read: {error}")


def plan_findings(output: Output, plan: Plan) -> Iterator[Finding]:
    """Compare the plan on disk with the one that was accepted."""
    try:
        if output.read(FILE_NAME) != plan.to_json():
            yield _wrong_manifest(f"{FILE_NAME} is not the plan that was accepted")
    except (OSError, OutputError) as error:
        yield _wrong_manifest(f"{FILE_NAME} cannot be read: {error}")


def manifest_findings(view: JobView, manifest: Manifest) -> Iterator[Finding]:
    """Compare what a manifest says of the whole job, and how it cuts it, with what the ledger knows."""
    plan = view.plan
    facts = {
        "job": (plan.job, manifest.job),
        "plan digest": (plan.digest, manifest.plan_digest),
        "state": (view.state, manifest.state),
        "root digest": (view.root_digest, manifest.root_digest),
    }
    for name, (expected, found) in facts.items():
        if expected != found:
            yield Finding("WRONG_MANIFEST", None, expected, found, f"{MANIFEST} has another {name}")
    for before, listed in zip([None, *manifest.shards], manifest.shards, strict=False):
        span = plan.span(listed.shard)
        inside = listed.shard < plan.shards and (listed.first_index, listed.count) == (span.start, len(span))
        if not inside or (before and before.shard >= listed.shard):
            yield Finding("WRONG_MANIFEST", listed.shard, detail=f"{MANIFEST} lists samples that no shard has there")


def shard_findings(output: Output, plan: Plan, shard: int, expected: str) -> Iterator[Finding]:
    """Hash a shard's file and compare it, and its marker, with the digest that was committed. Memory stays small."""
    name, size = data_name(plan, shard), None
    try:
        found, bytes_found = layout_of(plan).digest(output, shard)
        size = bytes_found if found == expected else None
        if found != expected:
            yield Finding("WRONG_DIGEST", shard, expected, found, f"{name} was changed")
    except FileNotFoundError as error:
        yield Finding("MISSING", shard, expected, detail=f"{error.filename or name} is missing")
    except StrangeFileError as error:
        yield Finding("WRONG_DIGEST", shard, expected, detail=str(error))
    except (OSError, OutputError) as error:
        yield Finding("MISSING", shard, expected, detail=f"{name} cannot be read: {error}")
    yield from _marker_findings(output, plan, shard, expected, size)


def file_findings(output: Output, name: str, expected: str) -> Iterator[Finding]:
    """Compare a file of the whole job, such as the shards joined into one, with what the manifest says of it."""
    try:
        with output.open(name) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        if found != expected:
            yield Finding("WRONG_DIGEST", None, expected, found, f"{name} was changed")
    except FileNotFoundError:
        yield Finding("MISSING", None, expected, detail=f"{name} is missing")
    except (OSError, OutputError) as error:
        yield Finding("MISSING", None, expected, detail=f"{name} cannot be read: {error}")


def _marker_findings(output: Output, plan: Plan, shard: int, expected: str, size: int | None) -> Iterator[Finding]:
    """Compare a marker with the commit, and with the size of the file if that is sound."""
    name, span = marker_name(shard), plan.span(shard)
    try:
        marker = read_marker(output, shard)
    except (OSError, OutputError) as error:
        yield Finding("WRONG_MARKER", shard, expected, detail=str(error))
        return
    if marker is None:
        yield Finding("WRONG_MARKER", shard, expected, detail=f"{name} is missing")
    elif marker.digest != expected:
        yield Finding("WRONG_MARKER", shard, expected, marker.digest, f"{name} has another digest")
    else:
        said = (marker.shard, marker.first_index, marker.count, marker.plan_digest)
        if said != (shard, span.start, len(span), plan.digest):
            yield Finding("WRONG_MARKER", shard, detail=f"{name} is about another shard or another plan")
        elif size is not None and marker.bytes != size:
            yield Finding("WRONG_MARKER", shard, str(size), str(marker.bytes), f"{name} has another size in bytes")


def _wrong_manifest(detail: str) -> Finding:
    return Finding("WRONG_MANIFEST", detail=detail)
