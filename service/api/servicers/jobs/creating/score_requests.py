"""A request for a score job, checked field by field; `score_plans` checks it against model, source and reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mintage.v1 import jobs_pb2

from service.api.servicers.jobs.requests import check_common, job_options
from service.jobs.plan import MAX_SHARD_SIZE
from service.validation import OUTPUT_PREFIX, Violations

MAX_SPLITS = 1000  # far above the 10 of the paper, and few enough to keep the sums of each in memory


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """The names in a request, without `models/` and `jobs/`."""

    model: str
    source: str
    folder: str
    reference: str


def checked_score(request: jobs_pb2.CreateScoreJobRequest) -> ScoreRequest:
    """Check every field that can be checked alone.

    Raises:
        InvalidArgument: naming every wrong field.
    """
    violations = Violations()
    model = violations.model_name("model", request.model)
    source = _checked_source(request, violations)
    reference = violations.job_name("reference_job", request.reference_job) if request.reference_job else ""
    violations.in_range("splits", request.splits, 0, MAX_SPLITS)
    check_common(request, violations)
    violations.check()
    return ScoreRequest(model, source, request.source_folder, reference)


def _checked_source(request: jobs_pb2.CreateScoreJobRequest, violations: Violations) -> str:
    """Check that either a job or a folder is named; a folder's shards are cut here, those of a job are as they were."""
    violations.in_range("shard_size", request.shard_size, 0, MAX_SHARD_SIZE)
    if not request.source_folder:
        if request.shard_size:
            violations.add("shard_size", "must be 0 beside source_job, which keeps its own shards")
        return violations.job_name("source_job", request.source_job)
    if request.resize:
        violations.add("resize", "must not be set beside source_folder, whose images are always resized")
    if request.source_job:
        violations.add("source_folder", "must not be set together with source_job")
    expected = "a folder below the server's input folder: up to 8 segments of a-z, A-Z, 0-9, '.', '_' and '-'"
    violations.matches("source_folder", request.source_folder, OUTPUT_PREFIX, expected)
    return ""


def parameters(request: jobs_pb2.CreateScoreJobRequest, named: ScoreRequest) -> dict[str, Any]:
    """What tells two requests with the same request id apart; options that are not set are left out."""
    return {
        "kind": "score",
        "model": named.model,
        "source_job": named.source,
        "splits": request.splits,
        "output_prefix": request.output_prefix,
        **({"source_folder": named.folder, "shard_size": request.shard_size} if named.folder else {}),
        **({"reference_job": named.reference} if named.reference else {}),
        **({"resize": True} if request.resize else {}),
        **job_options(request),
    }
