"""What can be wrong with a job's files: each check compares what is on disk with what was committed.

Before a job is signed off, `damaged_shards` looks at sizes and at what markers say. Where that does not find what is
wrong, and when a finished job is verified or repaired, every file is hashed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from service.jobs.ledger.views import JobView
from service.jobs.manifest import MANIFEST_FILE, Manifest, read_manifest
from service.jobs.plan import PLAN_FILE, Plan
from service.jobs.shards.formats.choice import layout_of
from service.jobs.shards.formats.folder import ChangedFileError, StrangeFileError
from service.jobs.shards.marker import is_about, marker_name, read_marker
from service.jobs.shards.publish import data_name
from service.jobs.steps import Report
from service.jobs.storage.output import Output, OutputError
from service.jobs.sums import SUMS_FILE, sums

Kind = Literal["MISSING", "WRONG_DIGEST", "WRONG_MARKER", "WRONG_IMAGE", "WRONG_MANIFEST", "STRANGE_FILE"]


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as committed; without a shard it is about the whole job. `name` is of a file or folder."""

    kind: Kind
    shard: int | None = None
    expected: str = ""
    found: str = ""
    detail: str = ""
    index: int | None = None
    name: str = ""


def manifest_or_finding(output: Output) -> Manifest | Finding:
    """Return the manifest, or what is wrong with it."""
    try:
        return read_manifest(output) or _wrong_manifest(f"{MANIFEST_FILE} is missing")
    except ValueError:
        return _wrong_manifest(f"{MANIFEST_FILE} is damaged")
    except (OSError, OutputError) as error:
        return _wrong_manifest(f"{MANIFEST_FILE} cannot be read: {error}")


def plan_findings(output: Output, plan: Plan) -> Iterator[Finding]:
    """Compare the plan on disk with the one that was accepted."""
    try:
        if output.read(PLAN_FILE) != plan.to_json():
            yield _wrong_manifest(f"{PLAN_FILE} is not the plan that was accepted")
    except (OSError, OutputError) as error:
        yield _wrong_manifest(f"{PLAN_FILE} cannot be read: {error}")


def manifest_findings(view: JobView, manifest: Manifest) -> Iterator[Finding]:
    """Compare a manifest's facts about the whole job, and its shards, with the ledger's."""
    plan = view.plan
    facts = {
        "job": (plan.job, manifest.job),
        "plan digest": (plan.digest, manifest.plan_digest),
        "state": (view.state, manifest.state),
        "root digest": (view.root_digest, manifest.root_digest),
    }
    for name, (expected, found) in facts.items():
        if expected != found:
            yield Finding(
                "WRONG_MANIFEST", None, expected, found, f"{MANIFEST_FILE} has another {name}", name=MANIFEST_FILE
            )
    for before, listed in zip([None, *manifest.shards], manifest.shards, strict=False):
        span = plan.span(listed.shard)
        inside = listed.shard < plan.shards and (listed.first_index, listed.count) == (span.start, len(span))
        if not inside or (before and before.shard >= listed.shard):
            detail = f"{MANIFEST_FILE} lists samples that no shard has there"
            yield Finding("WRONG_MANIFEST", listed.shard, detail=detail, name=MANIFEST_FILE)


def damaged_shards(
    output: Output, plan: Plan, committed: Mapping[int, str], *, hashed: bool, report: Report
) -> list[Finding]:
    """Return what is wrong with shards that were committed: their files, and their markers.

    Args:
        output: the job's folder.
        plan: the job's plan.
        committed: the digest of each.
        hashed: whether to hash every file, or to compare its size with what its marker says.
        report: called with the number of shards just checked.
    """
    check = shard_findings if hashed else size_findings
    found: list[Finding] = []
    for shard, digest in committed.items():
        found += check(output, plan, shard, digest)
        report(1)
    return found


def size_findings(output: Output, plan: Plan, shard: int, expected: str) -> Iterator[Finding]:
    """Compare a shard's marker with the digest that was committed, and the size of its file with the marker."""
    name = data_name(plan, shard)
    try:
        size = layout_of(plan).size(output, shard)
    except (OSError, OutputError) as error:
        yield Finding("MISSING", shard, expected, detail=f"{name} cannot be read: {error}", name=name)
        return
    if size is None:
        yield Finding("MISSING", shard, expected, detail=f"{name} is missing, or not all of it is there", name=name)
        return
    yield from _marker_findings(output, plan, shard, expected, size)


def shard_findings(output: Output, plan: Plan, shard: int, expected: str) -> Iterator[Finding]:
    """Hash a shard's file and compare it, and its marker, with the digest that was committed. Memory stays small."""
    name, size = data_name(plan, shard), None
    try:
        found, bytes_found = layout_of(plan).digest(output, shard)
        size = bytes_found if found == expected else None
        if found != expected:
            yield Finding("WRONG_DIGEST", shard, expected, found, f"{name} was changed", name=name)
    except FileNotFoundError as error:
        gone = name if name.endswith(error.filename or "") else error.filename  # or one of the files in it
        yield Finding("MISSING", shard, expected, detail=f"{gone} is missing", name=name)
    except StrangeFileError as error:
        yield Finding("STRANGE_FILE", shard, expected, detail=str(error), name=name)
    except ChangedFileError as error:
        yield Finding("WRONG_DIGEST", shard, expected, detail=str(error), name=name)
    except (OSError, OutputError) as error:
        yield Finding("MISSING", shard, expected, detail=f"{name} cannot be read: {error}", name=name)
    yield from _marker_findings(output, plan, shard, expected, size)


def file_findings(output: Output, name: str, expected: str) -> Iterator[Finding]:
    """Compare a file of the whole job, such as the shards joined into one, with its digest in the manifest."""
    try:
        with output.open(name) as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        if found != expected:
            yield Finding("WRONG_DIGEST", None, expected, found, f"{name} was changed", name=name)
    except FileNotFoundError:
        yield Finding("MISSING", None, expected, detail=f"{name} is missing", name=name)
    except (OSError, OutputError) as error:
        yield Finding("MISSING", None, expected, detail=f"{name} cannot be read: {error}", name=name)


def sums_findings(output: Output, plan: Plan, manifest: Manifest) -> Iterator[Finding]:
    """Compare `SHA256SUMS` of a job whose other files are sound with what it must say."""
    try:
        with output.open(SUMS_FILE) as file:
            same = all(file.readline() == line for line in sums(output, plan, manifest)) and not file.read(1)
        if not same:
            yield Finding("WRONG_DIGEST", detail=f"{SUMS_FILE} was changed", name=SUMS_FILE)
    except FileNotFoundError:
        yield Finding("MISSING", detail=f"{SUMS_FILE} is missing", name=SUMS_FILE)
    except (OSError, OutputError) as error:
        yield Finding("MISSING", detail=f"{SUMS_FILE} cannot be read: {error}", name=SUMS_FILE)


def _marker_findings(output: Output, plan: Plan, shard: int, expected: str, size: int | None) -> Iterator[Finding]:
    """Compare a marker with the commit, and with the size of the file if that is sound."""
    name = marker_name(shard)
    try:
        marker = read_marker(output, shard)
    except (OSError, OutputError) as error:
        yield Finding("WRONG_MARKER", shard, expected, detail=str(error), name=name)
        return
    if marker is None:
        yield Finding("WRONG_MARKER", shard, expected, detail=f"{name} is missing", name=name)
    elif marker.digest != expected:
        yield Finding("WRONG_MARKER", shard, expected, marker.digest, f"{name} has another digest", name=name)
    elif not is_about(marker, plan, shard):
        yield Finding("WRONG_MARKER", shard, detail=f"{name} is about another shard or another plan", name=name)
    elif size is not None and marker.bytes != size:
        yield Finding(
            "WRONG_MARKER", shard, str(size), str(marker.bytes), f"{name} has another size in bytes", name=name
        )


def _wrong_manifest(detail: str) -> Finding:
    return Finding("WRONG_MANIFEST", detail=detail, name=detail.partition(" ")[0])
