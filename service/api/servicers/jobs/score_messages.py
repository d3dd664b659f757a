"""What a score job asks and finds, as messages of the contract."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mintage.v1 import jobs_pb2

from service.jobs.plan import Plan

_COMPARED = (
    "reference_images",
    "images",
    "features",
    "model_digest",
    "frechet_distance",
    "kernel_distance",
    "kernel_distance_deviation",
    "precision",
    "recall",
    "density",
    "coverage",
    "notes",
)


def score_spec(plan: Plan) -> jobs_pb2.ScoreSpec:
    """Show what a score job computes."""
    scoring = plan.scoring
    assert scoring is not None  # noqa: S101 - only of score jobs
    return jobs_pb2.ScoreSpec(
        model=f"models/{plan.model}",
        model_digest=plan.model_digest,
        source_job=_job(scoring.source_job),
        splits=scoring.splits,
        source_folder=scoring.source_folder,
        source_listing=scoring.source_listing,
        source_passed_over=[
            jobs_pb2.PassedOver(reason=each.reason, count=each.count, first=each.first)
            for each in scoring.source_passed_over
        ],
        reference_job=_job(scoring.reference_job),
    )


def show_result(message: jobs_pb2.Job, result: Mapping[str, Any]) -> None:
    """Add the result of a score job to its message; nothing if there is none yet."""
    if "mean" in result:
        message.classifier_score.CopyFrom(_classifier_score(result))
    if result.get("comparison"):
        message.comparison.CopyFrom(_comparison(result["comparison"]))
    message.concept_scores.extend(
        jobs_pb2.ConceptScore(
            concept=found["concept"], detected=found["detected"], mean_activation=found["mean_activation"]
        )
        for found in result.get("concepts", ())
    )
    message.images_unreadable = result.get("unreadable", 0)


def _classifier_score(result: Mapping[str, Any]) -> jobs_pb2.ClassifierScore:
    return jobs_pb2.ClassifierScore(
        mean=result["mean"],
        standard_deviation=result["standard_deviation"],
        splits=result["splits"],
        images=result["images"],
        classifier_digest=result.get("model_digest") or result["classifier_digest"],
        mean_generated_probability=result["mean_generated_probability"],
        class_counts=result["class_counts"],
        classes=result["classes"],
    )


def _comparison(found: Mapping[str, Any]) -> jobs_pb2.Comparison:
    known = {name: found[name] for name in _COMPARED}
    return jobs_pb2.Comparison(reference_job=_job(found["reference_job"]), **known)


def _job(job: str) -> str:
    return f"jobs/{job}" if job else ""
