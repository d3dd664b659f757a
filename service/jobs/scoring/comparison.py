"""Comparing the images of a score job with those of its reference, by the features of one model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from service.jobs.plan import PLAN_FILE, Plan, PlanError, read_plan
from service.jobs.scoring.statistics import Statistics, statistics_of
from service.jobs.storage.output import OutputError
from service.jobs.storage.store import Store
from training.scores.classifier_score import ScoreError
from training.scores.frechet import frechet_distance
from training.scores.kernel_distance import SUBSET_SIZE, SUBSETS, kernel_distance
from training.scores.precision_recall import NEIGHBOURS, precision_recall

SEED = 0  # of the kernel distance's subsets


def compared(store: Store, plan: Plan, statistics: Statistics) -> dict[str, Any]:
    """Compare a score job's images with its reference.

    Returns:
        Every score, None where there are too few images for it; `notes` say why.

    Raises:
        OutputError: if the reference is gone, or is not the one that the plan names.
    """
    assert plan.scoring is not None  # noqa: S101 - only score jobs have a reference
    reference = _reference(store, plan)
    notes: list[str] = []
    real, generated = reference.rows, statistics.rows
    size = min(SUBSET_SIZE, len(real), len(generated))
    frechet = _tried(notes, "Frechet distance", lambda: frechet_distance(reference.moments, statistics.moments))
    kernel = _tried(notes, "kernel distance", lambda: kernel_distance(real, generated, subset_size=size, seed=SEED))
    shares = _tried(notes, "precision and recall", lambda: precision_recall(real, generated))
    return {
        "reference_job": plan.scoring.reference_job,
        "reference_root_digest": plan.scoring.reference_root_digest,
        "reference_images": reference.moments.count,
        "images": statistics.moments.count,
        "features": plan.scoring.features,
        "model_digest": plan.model_digest,
        "compared_images": [len(real), len(generated)],
        "frechet_distance": None if frechet is None else frechet.value,
        "kernel_distance": None if kernel is None else kernel.mean,
        "kernel_distance_deviation": None if kernel is None else kernel.std,
        "kernel_subsets": [SUBSETS, size],
        "precision": None if shares is None else shares.precision,
        "recall": None if shares is None else shares.recall,
        "density": None if shares is None else shares.density,
        "coverage": None if shares is None else shares.coverage,
        "neighbours": NEIGHBOURS,
        "notes": notes,
    }


def _reference(store: Store, plan: Plan) -> Statistics:
    """Return the statistics of the reference that the plan names, whose shards must be unchanged."""
    scoring = plan.scoring
    assert scoring is not None  # noqa: S101 - as above
    output, name = store.output(scoring.reference_prefix, existing=True), f"the reference jobs/{scoring.reference_job}"
    try:
        found = read_plan(output.read(PLAN_FILE) or b"")
        if found.job != scoring.reference_job:
            raise OutputError(f"{scoring.reference_prefix} belongs to jobs/{found.job}, it is not {name}")
        return statistics_of(output, found, scoring.reference_root_digest)
    except (PlanError, FileNotFoundError):
        raise OutputError(f"{name} is gone") from None
    except OutputError as error:
        raise OutputError(f"{name}: {error}") from error


def _tried(notes: list[str], name: str, score: Callable[[], Any]) -> Any:
    """Return a score, or None and a note if there are too few images."""
    try:
        return score()
    except ScoreError as error:
        notes.append(f"{name}: {error}")
        return None
