"""The plan of a score job: cut like its source job, or from the listing of a folder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mintage.v1 import jobs_pb2

from service.errors import DeadlineExceeded, FailedPrecondition, NotFound
from service.jobs.devices import check_device
from service.jobs.ledger.views import JobView
from service.jobs.plan import MAX_COUNT, MAX_SHARDS, Plan, ScoredConcept, Scoring, default_shard_size
from service.jobs.sources.inputs import InputFolder
from service.jobs.sources.listing import Listing, file_name, list_folder
from service.jobs.storage.output import OutputError
from service.jobs.submission.submit import Draft
from service.models.records import ModelRecord
from service.validation import Violations

DEFAULT_SPLITS = 10  # as Salimans et al. 2016 take
LISTING_S = 60.0  # for listing a folder, where the call has no deadline
ANSWER_S = 1.0  # before the call's deadline: left for everything after the listing


def score_plan(
    request: jobs_pb2.CreateScoreJobRequest,
    identity: Mapping[str, Any],
    record: ModelRecord,
    source: JobView,
    reference: JobView | None,
) -> Plan:
    """Cut a score job as its source was cut.

    Args:
        request: a checked request.
        identity: what every plan says about its job and model.
        record: the model's.
        source: the job whose images are scored.
        reference: the job that they are compared with, if any.

    Raises:
        FailedPrecondition: if the model does not score images, the source is not a sample job that succeeded with
            images of the model's size, or the reference not a score job that succeeded with the same model and
            features.
        InvalidArgument: if there are more splits than images.
    """
    plan = source.plan
    _check_model(record)
    _check_source(source, record, resize=request.resize)
    if reference is not None:
        _check_reference(reference, record)
    return Plan(
        **identity,
        height=record.height,
        width=record.width,
        channels=record.channels,
        count=plan.count,
        shard_size=plan.shard_size,
        format="safetensors",
        scoring=Scoring(
            source_job=plan.job,
            source_prefix=plan.prefix,
            source_root_digest=source.root_digest,
            source_shape=() if _sizes(plan) == _sizes(record) else _sizes(plan),
            splits=_splits(request, plan.count),
            **_questions(record),
            **_reference(reference),
        ),
    )


def folder_draft(
    request: jobs_pb2.CreateScoreJobRequest,
    identity: Mapping[str, Any],
    record: ModelRecord,
    listing: Listing,
    reference: JobView | None,
) -> Draft:
    """Cut a score job of a folder.

    Args:
        request: a checked request.
        identity: what every plan says about its job and model.
        record: the model's.
        listing: of the folder.
        reference: as for `score_plan`.

    Raises:
        FailedPrecondition, InvalidArgument: as `score_plan`; also if there are too many images or shards.
    """
    _check_model(record)
    if reference is not None:
        _check_reference(reference, record)
    size = request.shard_size or default_shard_size(listing.images)
    if listing.images > min(MAX_COUNT, MAX_SHARDS * size):
        text = f"{request.source_folder} holds {listing.images:,} images, more than {MAX_SHARDS:,} shards of {size:,}"
        raise FailedPrecondition(text, reason="SOURCE_TOO_LARGE")
    plan = Plan(
        **identity,
        height=record.height,
        width=record.width,
        channels=record.channels,
        count=listing.images,
        shard_size=size,
        format="safetensors",
        scoring=Scoring(
            source_job="",
            source_prefix="",
            source_root_digest="",
            source_folder=request.source_folder,
            source_listing=listing.digest,
            source_passed_over=listing.passed_over,
            splits=_splits(request, listing.images),
            **_questions(record),
            **_reference(reference),
        ),
    )
    return Draft(plan, {file_name(listing.digest): listing.data})


async def list_source(inputs: Path, folder: str, *, timeout_s: float | None) -> Listing:
    """List a folder in a thread.

    Raises:
        NotFound: if there is no such folder.
        FailedPrecondition: if it cannot be scored.
        DeadlineExceeded: if that takes longer than the call may.
    """
    end = time.monotonic() + (LISTING_S if timeout_s is None else timeout_s - ANSWER_S)

    def in_time() -> None:
        if time.monotonic() > end:
            text = f"listing {folder} takes longer than the call's deadline; set a longer one, or name a smaller folder"
            raise DeadlineExceeded(text)

    try:
        return await asyncio.to_thread(list_folder, InputFolder(inputs, folder), on_file=in_time)
    except FileNotFoundError:
        text = f"the server's input folder has no {folder} (MINTAGE_INPUT_DIR says where that is)"
        raise NotFound(text, reason="SOURCE_FOLDER_NOT_FOUND") from None
    except OutputError as error:
        raise FailedPrecondition(str(error), reason="SOURCE_UNUSABLE") from error
    except OSError as error:
        text = f"{folder} cannot be listed: {error.strerror}"
        raise FailedPrecondition(text, reason="SOURCE_UNUSABLE") from error


def _splits(request: jobs_pb2.CreateScoreJobRequest, images: int) -> int:
    if request.splits > images:
        violations = Violations()
        violations.add("splits", f"must be at most {images:,}, the number of images, not {request.splits:,}")
        violations.check()
    return request.splits or min(DEFAULT_SPLITS, images)


def _questions(record: ModelRecord) -> dict[str, Any]:
    """What the model is asked about each image."""
    concepts = tuple(ScoredConcept(name=c.name, sign=_sign(c.sign), threshold=c.threshold) for c in record.concepts)
    return {"classes": record.classes, "features": record.features, "concepts": concepts}


def _sign(sign: int) -> Any:
    return 1 if sign > 0 else -1


def _reference(reference: JobView | None) -> dict[str, Any]:
    if reference is None:
        return {}
    plan = reference.plan
    return {
        "reference_job": plan.job,
        "reference_prefix": plan.prefix,
        "reference_root_digest": reference.root_digest,
    }


def _check_model(record: ModelRecord) -> None:
    name = f"models/{record.name}"
    if record.kind == "generator":
        raise FailedPrecondition(
            f"{name} is a generator; only a classifier or an autoencoder with concepts scores images",
            reason="WRONG_MODEL_KIND",
        )
    if record.kind == "neurons" and not record.concepts:
        text = f"{name} has no concepts; find some with `mintage neurons find`"
        raise FailedPrecondition(text, reason="NO_CONCEPTS")


def _sizes(of: Plan | ModelRecord) -> tuple[int, int, int]:
    return of.height, of.width, of.channels


def _check_source(source: JobView, record: ModelRecord, *, resize: bool) -> None:
    plan, name = source.plan, f"jobs/{source.plan.job}"
    if plan.sampling is None:
        raise FailedPrecondition(f"{name} is not a sample job", reason="WRONG_JOB_KIND")
    if source.state != "SUCCEEDED":
        raise FailedPrecondition(f"{name} has not succeeded: it is {source.state}", reason="SOURCE_NOT_SUCCEEDED")
    made, taken = _sizes(plan), _sizes(record)
    if made != taken and not resize:
        sizes = f"{name} has images {made}, but models/{record.name} takes {taken} (height, width, channels)"
        text = f"{sizes}; set `resize` (mintage jobs score --resize) to score them resized"
        raise FailedPrecondition(text, reason="IMAGE_SIZES_DIFFER")


def _check_reference(reference: JobView, record: ModelRecord) -> None:
    plan, name = reference.plan, f"the reference jobs/{reference.plan.job}"
    if plan.scoring is None:
        raise FailedPrecondition(f"{name} is not a score job; score its images first", reason="WRONG_JOB_KIND")
    if reference.state != "SUCCEEDED":
        text = f"{name} has not succeeded: it is {reference.state}"
        raise FailedPrecondition(text, reason="REFERENCE_NOT_SUCCEEDED")
    if plan.model_digest != record.digest:
        text = (
            f"{name} was scored by {plan.model} {plan.model_digest[:12]}, not by {record.name} {record.digest[:12]}: "
            "features of two models cannot be compared; score it with this model too"
        )
        raise FailedPrecondition(text, reason="REFERENCE_OTHER_MODEL")
    check_device(plan, record, name=name)
    if not record.features or plan.scoring.features != record.features:
        lacks = name if record.features else f"models/{record.name}"
        text = (
            f"{lacks} has no features to compare images by; where an earlier version loaded or scored, load the model "
            "and score the reference again"
        )
        raise FailedPrecondition(text, reason="NO_FEATURES")
