"""Comparing the images of a score job with those of its reference, by the features of one model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.jobs.plan import PLAN_FILE, Plan, PlanError, read_plan
from service.jobs.scoring.statistics import Statistics, statistics_of
from service.jobs.steps import Report, Steps
from service.jobs.storage.output import OutputError
from service.jobs.storage.store import Store
from training.scores.classifier_score import ScoreError
from training.scores.frechet import Moments, frechet_distance
from training.scores.halves import two_halves
from training.scores.kernel_distance import SUBSET_SIZE, SUBSETS, kernel_distance
from training.scores.precision_recall import NEIGHBOURS, precision_recall

SEED = 0  # of the kernel distance's subsets, and of the halves of the reference

Rows = NDArray[np.float32]  # [N, F] features


def compared(store: Store, plan: Plan, statistics: Statistics, steps: Steps) -> dict[str, Any]:
    """Compare a score job's images with its reference; `steps` is told how far it is.

    Returns:
        Every score, None where there are too few images for it; `notes` say why.

    Raises:
        OutputError: if the reference is gone, or is not the one that the plan names.
    """
    assert plan.scoring is not None  # noqa: S101 - only score jobs have a reference
    reference = _reference(store, plan, steps)
    rows, moments = (reference.rows, statistics.rows), (reference.moments, statistics.moments)
    report = steps.begin("comparing with the reference", _pairs(*rows))
    ours = _scores(rows, moments, report)
    return {
        "reference_job": plan.scoring.reference_job,
        "reference_root_digest": plan.scoring.reference_root_digest,
        "reference_images": reference.moments.count,
        "images": statistics.moments.count,
        "features": plan.scoring.features,
        "model_digest": plan.model_digest,
        "neighbours": NEIGHBOURS,
        **ours,
        "reference_against_itself": _against_itself(reference, steps),
    }


def _against_itself(reference: Statistics, steps: Steps) -> dict[str, Any] | None:
    """Compare one half of the reference's rows with the other; None if there are no two images.

    Perfect images would score about so: it says what the scores of others mean.
    """
    if len(reference.rows) < 2:
        return None
    halves = [reference.rows[half] for half in two_halves(len(reference.rows), seed=SEED)]
    report = steps.begin("comparing the reference with itself", _pairs(*halves))
    return _scores((halves[0], halves[1]), (Moments.of(halves[0]), Moments.of(halves[1])), report)


def _pairs(one: Rows, other: Rows) -> int:
    """Return how many pairs of images are compared for the scores of two sets."""
    size = min(SUBSET_SIZE, len(one), len(other))
    return 3 * SUBSETS * size**2 + len(one) ** 2 + len(other) ** 2 + len(one) * len(other)


def _scores(rows: tuple[Rows, Rows], moments: tuple[Moments, Moments], report: Report) -> dict[str, Any]:
    """Return every score of the second of two sets against the first."""
    notes: list[str] = []
    size = min(SUBSET_SIZE, *map(len, rows))
    frechet = _tried(notes, "Frechet distance", lambda: frechet_distance(*moments))
    kernel = _tried(
        notes, "kernel distance", lambda: kernel_distance(*rows, subset_size=size, seed=SEED, report=report)
    )
    shares = _tried(notes, "precision and recall", lambda: precision_recall(*rows, report=report))
    return {
        "compared_images": [len(each) for each in rows],
        "frechet_distance": None if frechet is None else frechet.value,
        "kernel_distance": None if kernel is None else kernel.mean,
        "kernel_distance_deviation": None if kernel is None else kernel.std,
        "kernel_subsets": [SUBSETS, size],
        "precision": None if shares is None else shares.precision,
        "recall": None if shares is None else shares.recall,
        "density": None if shares is None else shares.density,
        "coverage": None if shares is None else shares.coverage,
        "notes": notes,
    }


def _reference(store: Store, plan: Plan, steps: Steps) -> Statistics:
    """Return the statistics of the reference that the plan names, whose shards must be unchanged."""
    scoring = plan.scoring
    assert scoring is not None  # noqa: S101 - as above
    output, name = store.output(scoring.reference_prefix, existing=True), f"the reference jobs/{scoring.reference_job}"
    try:
        found = read_plan(output.read(PLAN_FILE) or b"")
        if found.job != scoring.reference_job:
            raise OutputError(f"{scoring.reference_prefix} belongs to jobs/{found.job}, it is not {name}")
        return statistics_of(output, found, scoring.reference_root_digest, steps)
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
