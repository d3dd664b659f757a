"""The signed-off end of a job: contact sheet, score and, last, the manifest. Repeating it changes nothing."""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.jobs import png, score, wishes
from service.jobs.faults import crash_point
from service.jobs.formats.choice import image_layout_of, open_images
from service.jobs.marker import Marker
from service.jobs.markers import finished_markers, root_digest
from service.jobs.output import Output, OutputError
from service.jobs.plan import Plan, canonical_json
from service.jobs.report.page import write_report
from service.jobs.store import Store
from service.jobs.views import JobState

MANIFEST = "manifest.json"
CONTACT_SHEET = "contact-sheet.png"
SHEET_IMAGES, SHEET_COLUMNS, SHEET_TILE = 64, 8, 128


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended: what goes into its manifest, and from there into the ledger.

    `size_bytes` is that of all finished shards; None in a manifest of a time before it was written down.
    """

    state: JobState
    error: str = ""
    root_digest: str = ""
    result: dict[str, Any] | None = None
    digests: dict[int, str] = field(default_factory=dict)
    errors: dict[int, str] = field(default_factory=dict)
    round: int = 0
    files: dict[str, str] = field(default_factory=dict)
    size_bytes: int | None = None

    @property
    def result_json(self) -> str:
        """The result as the ledger keeps it; empty if there is none."""
        return canonical_json(self.result).decode() if self.result else ""


def finalize(
    store: Store,
    plan: Plan,
    *,
    cancelled: bool,
    errors: Mapping[int, str],
    retry_round: int = 0,
    inputs: Path | None = None,
) -> Ending:
    """Write what belongs to the end of a job, the manifest last, and return how the job ended.

    If the manifest of this round, or of a later one, is there already, it decides; that of an earlier one is replaced.

    Args:
        store: where jobs write.
        plan: the job's plan.
        cancelled: whether the job was asked to stop.
        errors: the last error of each shard that failed for good.
        retry_round: how often failed shards were given fresh attempts.
        inputs: the folder below which folders may be scored; without it a score job gets no report.

    Raises:
        OSError: if the disk is full, say; try again later.
    """
    output = store.output(plan.prefix, existing=True)
    ending = read_ending(output)
    if ending is None or ending.round < retry_round:
        try:
            ending = _ending(store, inputs, output, plan, cancelled=cancelled, errors=errors)
        except OutputError as error:
            ending = Ending("FAILED", f"{error.reason}: {error}")
        _forget(output, plan, ending.files)
        ending = replace(ending, round=retry_round)
        crash_point("before_manifest")
        with output.temporary(MANIFEST) as temporary:
            _write_manifest(temporary.file, plan, ending)
            if retry_round:
                output.replace(temporary, MANIFEST)
            elif not output.publish(temporary, MANIFEST):
                ending = read_ending(output) or ending
        crash_point("after_manifest")
    output.remove(wishes.FILE_NAME)
    output.remove_temporaries()
    return ending


def read_ending(output: Output) -> Ending | None:
    """Return how a job ended, from its manifest; None if there is none."""
    data = output.read(MANIFEST)
    if data is None:
        return None
    manifest = json.loads(data)
    return Ending(
        manifest["state"],
        manifest["error"],
        manifest["root_digest"],
        score.read(output),
        {shard["shard"]: shard["digest"] for shard in manifest["shards"]},
        {failure["shard"]: failure["error"] for failure in manifest["failures"]},
        manifest.get("round", 0),
        manifest.get("files", {}),
        manifest.get("bytes"),
    )


def _ending(
    store: Store, inputs: Path | None, output: Output, plan: Plan, *, cancelled: bool, errors: Mapping[int, str]
) -> Ending:
    markers = list(finished_markers(output, plan))
    digests = {marker.shard: marker.digest for marker in markers}
    missing = {shard: errors.get(shard, "") for shard in range(plan.shards) if shard not in digests and not cancelled}
    digest, size_bytes = root_digest(digests.values()), sum(marker.bytes for marker in markers)
    if markers and plan.sampling:
        with output.temporary(CONTACT_SHEET) as temporary:
            temporary.file.write(_contact_sheet(output, plan, markers))
            output.replace(temporary, CONTACT_SHEET)
    if cancelled:
        return Ending("CANCELLED", "", digest, None, digests, size_bytes=size_bytes)
    if plan.max_failed_shards is not None and len(errors) > plan.max_failed_shards:
        failed = {shard: error for shard, error in errors.items() if shard not in digests}
        return Ending("FAILED", _too_many(plan, errors), digest, None, digests, failed, size_bytes=size_bytes)
    if missing:
        state: JobState = "PARTIALLY_SUCCEEDED" if markers and plan.sampling else "FAILED"
        files = _sum_up(output, plan, digests) if markers else {}
        return Ending(
            state, _failure(plan, missing), digest, None, digests, missing, files=files, size_bytes=size_bytes
        )
    result = _result(store, inputs, output, plan, markers)
    files = _sum_up(output, plan, digests)
    return Ending("SUCCEEDED", "", digest, result, digests, files=files, size_bytes=size_bytes)


def _sum_up(output: Output, plan: Plan, digests: Mapping[int, str]) -> dict[str, str]:
    """Write what the format has besides shards; returns its digests by name."""
    return image_layout_of(plan).sum_up(output, digests) if plan.sampling else {}


def _forget(output: Output, plan: Plan, kept: Container[str]) -> None:
    """Remove what an earlier round, which ended with other shards, summed up."""
    summary = image_layout_of(plan).summary if plan.sampling else None
    if summary:
        for name in output.names():
            if summary.fullmatch(name) and name not in kept:
                output.remove(name)


def _result(
    store: Store, inputs: Path | None, output: Output, plan: Plan, markers: list[Marker]
) -> dict[str, Any] | None:
    """Return the result of a score job, if it scored exactly the images that its plan names."""
    if plan.scoring is None:
        return None
    sources = root_digest(marker.source_digest for marker in markers)
    if plan.scoring.source_job and sources != plan.scoring.source_root_digest:
        raise OutputError(f"the images of the source jobs/{plan.scoring.source_job} are not those of its manifest")
    result, summary = score.reduce(store, output, plan, markers)
    root = root_digest(marker.digest for marker in markers)
    if inputs is not None:
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


def _write_manifest(file: BinaryIO, plan: Plan, ending: Ending) -> None:
    """Write the manifest, one shard a line."""
    head = {"job": plan.job, "plan_digest": plan.digest, "state": ending.state, "error": ending.error}
    file.write(canonical_json(head)[:-2] + b',\n"shards":[')
    for number, (shard, digest) in enumerate(sorted(ending.digests.items())):
        span = plan.span(shard)
        line = {"shard": shard, "first_index": span.start, "count": len(span), "digest": digest}
        file.write((b",\n" if number else b"\n") + canonical_json(line).rstrip())
    failures = [{"shard": shard, "error": error} for shard, error in sorted(ending.errors.items())]
    tail: dict[str, Any] = {"failures": failures, "root_digest": ending.root_digest, "round": ending.round}
    if ending.files:
        tail["files"] = ending.files
    if ending.size_bytes is not None:
        tail["bytes"] = ending.size_bytes
    file.write(b"],\n" + canonical_json(tail)[1:])


def _contact_sheet(output: Output, plan: Plan, markers: list[Marker]) -> bytes:
    """Return the first images as one PNG, on white, large images made smaller."""
    tiles = [_tile(image) for image in _first_images(output, plan, markers)]
    height, width, channels = tiles[0].shape
    columns = min(SHEET_COLUMNS, len(tiles))
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + 2) + 2, columns * (width + 2) + 2, channels), 255, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = 2 + number // columns * (height + 2), 2 + number % columns * (width + 2)
        sheet[top : top + height, left : left + width] = tile
    return next(png.encode(sheet[None]))


def _first_images(output: Output, plan: Plan, markers: list[Marker]) -> Iterator[NDArray[np.uint8]]:
    left = SHEET_IMAGES
    for marker in markers:
        indices = range(marker.first_index, marker.first_index + min(marker.count, left))
        with open_images(output, plan, marker.shard) as images:
            yield from images.read(indices)
        left -= len(indices)
        if left == 0:
            return


def _tile(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width, channels = image.shape
    if max(height, width) <= SHEET_TILE:
        return image
    scale = SHEET_TILE / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    small = Image.fromarray(image[:, :, 0] if channels == 1 else image).resize(size, Image.Resampling.BOX)
    return np.asarray(small).reshape(size[1], size[0], channels)
