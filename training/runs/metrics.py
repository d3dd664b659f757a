"""metrics.jsonl of a run folder: one JSON object per line, ordered by images seen."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training.runs.files import write_atomically

METRICS_FILE = "metrics.jsonl"


def append(run: Path, values: Mapping[str, Any]) -> None:
    """Add one line."""
    with (run / METRICS_FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps(values) + "\n")


def read(run: Path) -> list[dict[str, Any]]:
    """Return a run's lines, without one that a crash truncated."""
    path = run / METRICS_FILE
    return [values for line in path.read_text().splitlines() if (values := _parsed(line))] if path.exists() else []


def forget_after(run: Path, images_seen: int) -> None:
    """Drop the lines written after the checkpoint that the run resumes from."""
    kept = [json.dumps(values) for values in read(run) if values.get("images_seen", 0) <= images_seen]
    write_atomically(run / METRICS_FILE, "".join(line + "\n" for line in kept).encode())


def _parsed(line: str) -> dict[str, Any] | None:
    """Return the object of a line, or None if it is not a JSON object."""
    try:
        values = json.loads(line)
    except ValueError:
        return None
    return values if isinstance(values, dict) else None
