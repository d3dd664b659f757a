"""What a sample job wrote: its images lie in `data/`, the names of their classes and their number in `plan.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from training.data.report import Report

PLAN_FILE, DATA = "plan.json", "data"
MAX_PLAN_BYTES = 64 * 2**20
MISSING = "images that the job has not made, or that were removed"


def images_folder(source: Path) -> Path:
    """Return where the images of a source lie: in `data/` of a job's folder, else where they are."""
    return source / DATA if (source / PLAN_FILE).is_file() and (source / DATA).is_dir() else source


def classes(source: Path) -> tuple[str, ...]:
    """Return the names of the classes of a job's images, () if they have none."""
    sampling = _plan(source).get("sampling")
    names = sampling.get("classes") if isinstance(sampling, dict) else None
    return tuple(str(name) for name in names) if isinstance(names, list) else ()


def note_missing(source: Path, found: int, report: Report) -> None:
    """Note how many of a job's images are not there."""
    count = _plan(source).get("count")
    if isinstance(count, int):
        report.pass_over(MISSING, count=max(count - found, 0))


def _plan(source: Path) -> dict[str, Any]:
    """Read the plan of a job's folder, {} if there is none that can be read."""
    path = source / PLAN_FILE
    try:
        plan = json.loads(path.read_bytes()) if path.stat().st_size <= MAX_PLAN_BYTES else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return plan if isinstance(plan, dict) else {}
