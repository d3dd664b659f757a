"""A request for a score job: checked field by field, then against its model, its source and its reference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mintage.v1 import jobs_pb2

from service.errors import FailedPrecondition
from service.jobs.plan import Plan, ScoredConcept, Scoring
from service.jobs.views import JobView
from service.registry import ModelRecord
from service.servicers.job_requests import check_common, wishes
from service.validation import Violations

DEFAULT_SPLITS, MAX_SPLITS = 10, 1000


@dataclass(frozen=True, slots=True)
class Asked:
    """The names in a request, without `models/` and `jobs/`."""

    model: str
    source: str
    reference: str


def checked_score(request: jobs_pb2.CreateScoreJobRequest) -> Asked:
    """Check every field that can be checked alone.

    Raises:
        InvalidArgument: naming every wrong field.
    """
    violations = Violations()
    model = violations.model_name("model", request.model)
    source = violations.job_name("source_job", request.source_job)
    reference = violations.job_name("reference_job", request.reference_job) if request.reference_job else ""
    violations.in_range("splits", request.splits, 0, MAX_SPLITS)
    check_common(request, violations)
    violations.check()
    return Asked(model, source, reference)


def parameters(request: jobs_pb2.CreateScoreJobRequest, asked: Asked) -> dict[str, Any]:
    """Return what tells two requests of one request id apart; what is not asked for is left out."""
    return {
        "kind": "score",
        "model": asked.model,
        "source_job": asked.source,
        "splits": request.splits,
        "output_prefix": request.output_prefix,
        **({"reference_job": asked.reference} if asked.reference else {}),
        **wishes(request),
    }


def score_plan(
    request: jobs_pb2.CreateScoreJobRequest,
    identity: Mapping[str, Any],
    record: ModelRecord,
    source: JobView,
    reference: JobView | None,
) -> Plan:
    """Cut a score job as its source was cut.

    Args:
        request: that was checked.
        identity: what every plan says of its job and model.
        record: of the model.
        source: the job whose images are scored.
        reference: the job that they are compared with, if any.

    Raises:
        FailedPrecondition: if the model does not score images, the source is no finished sample job of images that it
            takes, or the reference no finished score job with the same model and its features.
        InvalidArgument: if there are more splits than images.
    """
    plan = source.plan
    _check_model(record)
    _check_source(source, record)
    if reference is not None:
        _check_reference(reference, record)
    return Plan(
        **identity,
        height=plan.height,
        width=plan.width,
        channels=plan.channels,
        count=plan.count,
        shard_size=plan.shard_size,
        format="safetensors",
        scoring=Scoring(
            source_job=plan.job,
            source_prefix=plan.prefix,
            source_root_digest=source.root_digest,
            splits=_splits(request, plan.count),
            **_questions(record),
            **_reference(reference),
        ),
    )


def _splits(request: jobs_pb2.CreateScoreJobRequest, images: int) -> int:
    if request.splits > images:
        violations = Violations()
        violations.add("splits", f"must be at most {images:,}, the number of images, not {request.splits:,}")
        violations.check()
    return request.splits or min(DEFAULT_SPLITS, images)


def _questions(record: ModelRecord) -> dict[str, Any]:
    """What is asked of a model about each image."""
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
            f"{name} is a generator, neither a classifier nor neurons: it scores nothing", reason="WRONG_MODEL_KIND"
        )
    if record.kind == "neurons" and not record.concepts:
        text = f"{name} has no concept to look for; `mintage neurons find` looks for some"
        raise FailedPrecondition(text, reason="NO_CONCEPTS")


def _check_source(source: JobView, record: ModelRecord) -> None:
    plan, name = source.plan, f"jobs/{source.plan.job}"
    if plan.sampling is None:
        raise FailedPrecondition(f"{name} is no sample job", reason="WRONG_JOB_KIND")
    if source.state != "SUCCEEDED":
        raise FailedPrecondition(f"{name} has not succeeded: it is {source.state}", reason="SOURCE_NOT_SUCCEEDED")
    made, taken = (plan.height, plan.width, plan.channels), (record.height, record.width, record.channels)
    if made != taken:
        text = f"{name} has images {made}, but models/{record.name} takes {taken} (height, width, channels)"
        raise FailedPrecondition(text, reason="IMAGE_SIZES_DIFFER")


def _check_reference(reference: JobView, record: ModelRecord) -> None:
    plan, name = reference.plan, f"the reference jobs/{reference.plan.job}"
    if plan.scoring is None:
        raise FailedPrecondition(f"{name} is no score job: score its images first", reason="WRONG_JOB_KIND")
    if reference.state != "SUCCEEDED":
        text = f"{name} has not succeeded: it is {reference.state}"
        raise FailedPrecondition(text, reason="REFERENCE_NOT_SUCCEEDED")
    if plan.model_digest != record.digest:
        text = (
            f"{name} was scored by {plan.model} {plan.model_digest[:12]}, not by {record.name} {record.digest[:12]}: "
            "features of two models cannot be compared; score it with this model too"
        )
        raise FailedPrecondition(text, reason="REFERENCE_OTHER_MODEL")
    if not record.features or plan.scoring.features != record.features:
        lacks = name if record.features else f"models/{record.name}"
        text = (
            f"{lacks} has no features to compare images by; where an earlier version loaded or scored, load the model "
            "and score the reference again"
        )
        raise FailedPrecondition(text, reason="NO_FEATURES")
