"""What run folders tell of themselves, from config.json and metrics.jsonl alone; torch is not needed."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from training.errors import RunError
from training.runs import metrics
from training.runs.lock import holder

CONFIG_FILE, WEIGHTS_FILE, STATE_FILE = "config.json", "checkpoint.safetensors", "state.safetensors"
DEPTH = 3  # of folders within folders that runs are looked for in
RunState = Literal["training", "finished", "stopped", "no state"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOverview:
    """Where a run stands, by its last line of metrics."""

    run: Path
    recipe: str
    state: RunState  # "no state": an exported run, or one that is not trained step by step
    process: int | None  # that trains it, 0 if its id is unknown
    images_seen: int
    images: int  # length of the run
    seconds: float  # of training
    images_per_second: float | None  # since the latest start
    losses: Mapping[str, float]
    test_accuracy: float | None  # the latest measured, in [0, 1]
    updated_s: float | None  # when the last line was written, s since 1970
    settings: Mapping[str, Any]  # every field of the recipe
    lines: Sequence[Mapping[str, Any]]  # of the metrics, in order

    def values(self) -> dict[str, Any]:
        """Return what `--json` prints of a run."""
        names = ("recipe", "state", "process", "images_seen", "images", "seconds", "images_per_second")
        rest = {"losses": dict(self.losses), "test_accuracy": self.test_accuracy, "updated": _rfc_3339(self.updated_s)}
        return {"run": str(self.run), **{name: getattr(self, name) for name in names}, **rest}


def overview(run: Path) -> RunOverview:
    """Read a run folder.

    Raises:
        RunError: if it is none, or its configuration is damaged.
    """
    try:
        config = json.loads((run / CONFIG_FILE).read_text(encoding="utf-8"))
        recipe, settings = str(config["recipe"]), dict(config["settings"])
    except FileNotFoundError:
        raise RunError(f"{run} is not a run folder: it has no {CONFIG_FILE}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{run / CONFIG_FILE} is damaged or from another version ({error!r})") from None
    lines = [line for line in metrics.read(run) if isinstance(line.get("images_seen"), int)]
    last: Mapping[str, Any] = lines[-1] if lines else {}
    seen, images, process = int(last.get("images_seen", 0)), int(settings.get("images") or 0), holder(run)
    path = run / metrics.METRICS_FILE
    return RunOverview(
        run=run,
        recipe=recipe,
        state=_state(run, process, finished=seen >= images > 0),
        process=process,
        images_seen=seen,
        images=images,
        seconds=float(last.get("seconds", 0.0)),
        images_per_second=last.get("images_per_second"),
        losses=next((line["losses"] for line in reversed(lines) if line.get("losses")), {}),
        test_accuracy=next((a for line in reversed(lines) if (a := line.get("test_accuracy")) is not None), None),
        updated_s=path.stat().st_mtime if path.exists() else None,
        settings=settings,
        lines=lines,
    )


def find_runs(folders: Sequence[Path]) -> list[Path]:
    """Return the run folders among some folders and below them, in the order of their names.

    Raises:
        RunError: if a folder does not exist.
    """
    found: dict[Path, None] = {}
    for folder in folders:
        if not folder.is_dir():
            raise RunError(f"{folder} is not a folder")
        found |= dict.fromkeys(_below(folder, DEPTH))
    return list(found)


def differing_fields(runs: Sequence[RunOverview]) -> dict[str, list[Any]]:
    """Return the fields in which runs differ, each with the runs' values, None where a recipe has no such field."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    values = {name: [run.settings.get(name) for run in runs] for name in names}
    return {name: each for name, each in values.items() if any(value != each[0] for value in each)}


def _rfc_3339(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _below(folder: Path, depth: int) -> list[Path]:
    kept = (metrics.METRICS_FILE, WEIGHTS_FILE)
    if (folder / CONFIG_FILE).is_file() and any((folder / name).exists() for name in kept):
        return [folder]
    if depth == 0:
        return []
    children = sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))
    return [run for child in children for run in _below(child, depth - 1)]


def _state(run: Path, process: int | None, *, finished: bool) -> RunState:
    if process is not None:
        return "training"
    if (run / WEIGHTS_FILE).exists() and not (run / STATE_FILE).exists():
        return "no state"
    return "finished" if finished else "stopped"
