"""Finishing a job: contact sheet, score and, last, the manifest. Repeating it changes nothing.

Before anything is signed, what was committed must be there; what is damaged or missing is for `finishing` to mend.
"""

from __future__ import annotations

import contextlib
from collections.abc import Container, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from service.images.decode import CHANNELS
from service.jobs import intents
from service.jobs.dispatch.contact_sheet import CONTACT_SHEET, contact_sheet
from service.jobs.faults import crash_point
from service.jobs.ledger.views import JobState
from service.jobs.manifest import MANIFEST_FILE, Ending, read_manifest, write_manifest
from service.jobs.plan import Plan
from service.jobs.scoring import reduce
from service.jobs.scoring.report.page import REPORT_FILE, SCORE_FILE, write_report
from service.jobs.shards.formats.choice import image_layout_of, layout_of
from service.jobs.shards.formats.layout import replaced
from service.jobs.shards.marker import Marker, read_marker
from service.jobs.shards.root import root_digest
from service.jobs.sources.listing import file_name
from service.jobs.steps import Report, Steps
from service.jobs.storage.output import Output, OutputError, file_digest
from service.jobs.storage.store import Store
from service.jobs.sums import SUMS_FILE, write_sums
from service.jobs.verification.findings import Finding, damaged_shards, size_findings


class ShardsDamaged(Exception):
    """Raised when shards that were committed are damaged or missing before their job is signed off."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__(findings[0].detail)
        self.findings = findings


def finalize(
    store: Store,
    plan: Plan,
    *,
    cancelled: bool,
    errors: Mapping[int, str],
    committed: Mapping[int, str] | None = None,
    retry_round: int = 0,
    inputs: Path | None = None,
    steps: Steps | None = None,
) -> Ending:
    """Write what belongs to the end of a job, the manifest last, and return how the job ended.

    If there is a manifest of this round or a later one, it decides; one of an earlier round, or a damaged one, is
    replaced.

    Args:
        store: where jobs write.
        plan: the job's plan.
        cancelled: whether the job was cancelled.
        errors: the last error of each shard that failed for good.
        committed: the digest of each shard that the ledger counts as done, if damaged ones are to be named rather than
            left out.
        retry_round: how often failed shards were given fresh attempts.
        inputs: the folder below which folders may be scored; without it a score job gets no report.
        steps: told how far it is.

    Raises:
        ShardsDamaged: if any of the committed shards is damaged or missing; then nothing was signed.
        OSError: for example if the disk is full; try again later.
    """
    steps = steps or Steps()
    output = store.output(plan.prefix, existing=True)
    ending, damaged = _earlier(output)
    if ending is None or ending.round < retry_round:
        _check(output, plan, committed, steps, hashed=False)
        try:
            ending = _ending(store, inputs, output, plan, steps, cancelled=cancelled, errors=errors)
        except OutputError as error:
            _check(output, plan, committed, steps, hashed=True)
            ending = Ending("FAILED", f"{error.reason}: {error}")
        _forget(output, plan, ending.files)
        ending = replace(ending, round=retry_round)
        steps.begin("writing the manifest")
        output.remove(SUMS_FILE)
        crash_point("before_manifest")
        with output.temporary(MANIFEST_FILE) as temporary:
            write_manifest(temporary.file, plan, ending, layout_of(plan).name)
            if retry_round or damaged:
                output.replace(temporary, MANIFEST_FILE)
            elif not output.publish(temporary, MANIFEST_FILE):
                ending = read_ending(output) or ending
        crash_point("after_manifest")
    if output.size(SUMS_FILE) is None and (manifest := read_manifest(output)) is not None:
        steps.begin(f"writing {SUMS_FILE}")
        write_sums(output, plan, manifest)
    output.remove(intents.INTENT_FILE)
    output.remove_temporaries()
    return ending


def read_ending(output: Output) -> Ending | None:
    """Return how a job ended, from its manifest; None if there is none.

    Raises:
        ValueError: if the manifest is damaged.
    """
    manifest = read_manifest(output)
    if manifest is None:
        return None
    return Ending(
        manifest.state,
        manifest.error,
        manifest.root_digest,
        reduce.read(output),
        manifest.digests,
        {failure.shard: failure.error for failure in manifest.failures},
        manifest.round,
        manifest.files,
        manifest.bytes,
    )


def _earlier(output: Output) -> tuple[Ending | None, bool]:
    """Return how a job ended before, and whether its manifest is damaged."""
    try:
        return read_ending(output), False
    except ValueError:
        return None, True


def _check(output: Output, plan: Plan, committed: Mapping[int, str] | None, steps: Steps, *, hashed: bool) -> None:
    if not committed:
        return
    report = steps.begin("hashing shards" if hashed else "looking at shards", len(committed))
    found = damaged_shards(output, plan, committed, hashed=hashed, report=report)
    if found:
        raise ShardsDamaged(found)


def _ending(
    store: Store,
    inputs: Path | None,
    output: Output,
    plan: Plan,
    steps: Steps,
    *,
    cancelled: bool,
    errors: Mapping[int, str],
) -> Ending:
    markers, damage = _sound_markers(output, plan, steps.begin("reading markers", plan.shards))
    digests = {marker.shard: marker.digest for marker in markers}
    wanted = () if cancelled else range(plan.shards)
    missing = {shard: errors.get(shard) or damage.get(shard, "") for shard in wanted if shard not in digests}
    digest, size_bytes = root_digest(digests.values()), sum(marker.bytes for marker in markers)
    files = _describe(output, plan, markers, steps) if markers and plan.sampling else {}
    if cancelled:
        return Ending("CANCELLED", "", digest, None, digests, files=files, size_bytes=size_bytes)
    if plan.max_failed_shards is not None and len(errors) > plan.max_failed_shards:
        failed = {shard: error for shard, error in errors.items() if shard not in digests}
        text = _too_many(plan, errors)
        return Ending("FAILED", text, digest, None, digests, failed, files=files, size_bytes=size_bytes)
    if missing:
        state: JobState = "PARTIALLY_SUCCEEDED" if markers and plan.sampling else "FAILED"
        files |= _sum_up(output, plan, digests, steps) if markers else {}
        return Ending(
            state, _failure(plan, missing), digest, None, digests, missing, files=files, size_bytes=size_bytes
        )
    result = _result(store, inputs, output, plan, markers, steps=steps)
    files |= _sum_up(output, plan, digests, steps) | _scored(output, plan)
    return Ending("SUCCEEDED", "", digest, result, digests, files=files, size_bytes=size_bytes)


def _describe(output: Output, plan: Plan, markers: list[Marker], steps: Steps) -> dict[str, str]:
    """Write what shows and says what was made, each while the disk takes the other; returns the digests by name."""
    steps.begin("describing the images")
    with ThreadPoolExecutor(1) as other:
        described = other.submit(image_layout_of(plan).describe, output, [marker.shard for marker in markers])
        files = {}
        if plan.channels in CHANNELS:
            files[CONTACT_SHEET] = replaced(output, CONTACT_SHEET, [contact_sheet(output, plan, markers)])
        return described.result() | files


def _scored(output: Output, plan: Plan) -> dict[str, str]:
    """Return the digests of the files of a score job by name."""
    if plan.scoring is None:
        return {}
    from service.jobs.scoring.image_table import TABLE_FILE  # noqa: PLC0415 - only score jobs need Arrow here

    files = {}
    for name in (SCORE_FILE, TABLE_FILE, REPORT_FILE):
        with contextlib.suppress(FileNotFoundError), output.open(name) as file:
            files[name] = file_digest(file)
    if plan.scoring.source_listing:
        files[file_name(plan.scoring.source_listing)] = plan.scoring.source_listing
    return files


def _sound_markers(output: Output, plan: Plan, report: Report) -> tuple[list[Marker], dict[int, str]]:
    """Return the markers of the shards that are whole, in order, and what is wrong with those that have another."""
    markers, damage = [], {}
    for shard in range(plan.shards):
        report(1)
        try:
            marker = read_marker(output, shard)
        except OutputError as error:
            damage[shard] = f"{error.reason}: {error}"
            continue
        if marker is None:
            continue
        wrong = list(size_findings(output, plan, shard, marker.digest))
        if wrong:
            damage[shard] = f"{OutputError.reason}: {wrong[0].detail}"
        else:
            markers.append(marker)
    return markers, damage


def _sum_up(output: Output, plan: Plan, digests: Mapping[int, str], steps: Steps) -> dict[str, str]:
    """Write the format's files of the whole job; returns their digests by name."""
    return image_layout_of(plan).sum_up(output, digests, steps) if plan.sampling else {}


def _forget(output: Output, plan: Plan, kept: Container[str]) -> None:
    """Remove such files of an earlier round, which ended with other shards."""
    summary = image_layout_of(plan).summary if plan.sampling else None
    if summary:
        for name in output.names():
            if summary.fullmatch(name) and name not in kept:
                output.remove(name)


def _result(
    store: Store, inputs: Path | None, output: Output, plan: Plan, markers: list[Marker], *, steps: Steps
) -> dict[str, Any] | None:
    """Return the result of a score job, if it scored exactly the images that its plan names."""
    if plan.scoring is None:
        return None
    sources = root_digest(marker.source_digest for marker in markers)
    if plan.scoring.source_job and sources != plan.scoring.source_root_digest:
        raise OutputError(f"the images of the source jobs/{plan.scoring.source_job} are not those of its manifest")
    result, summary = reduce.reduce(store, output, plan, markers, steps)
    root = root_digest(marker.digest for marker in markers)
    if inputs is not None:
        steps.begin("writing the report")
        write_report(store, inputs, plan, result=result, summary=summary, root=root)
    return result


def _failure(plan: Plan, missing: Mapping[int, str]) -> str:
    first = min(missing)
    return f"{len(missing)} of {plan.shards} shards failed; shard {first}: {missing[first] or 'not known'}"


def _too_many(plan: Plan, errors: Mapping[int, str]) -> str:
    first = min(errors)
    return (
        f"TOO_MANY_FAILED_SHARDS: {len(errors)} of {plan.shards} shards failed, at most {plan.max_failed_shards} may; "
        f"shard {first}: {errors[first]}"
    )
