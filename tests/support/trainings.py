"""What tests of training look at in run folders, and how they stop a run."""

from __future__ import annotations

from pathlib import Path

from training.runs.checkpoint import State, load_run, load_state


def read_state(run: Path) -> State:
    """The state that a run would be resumed from."""
    state = load_state(run, load_run(run).config)
    assert state is not None
    return state


def stop_after(steps: int) -> list[bool]:
    """Answers to "should it stop?", last one first: so many times no, then yes."""
    return [True] + [False] * steps


def contents(folder: Path) -> dict[Path, bytes]:
    """Every file of a folder."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
