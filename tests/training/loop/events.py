"""Reads event files with TensorBoard's own reader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest


def events_of(run: Path) -> Any:
    """The events of a run folder; without the extra `tensorboard` the test is skipped."""
    reader = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="the extra `tensorboard` is not installed"
    )
    events = reader.EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return events


def images_seen(events: Any, name: str) -> list[int]:
    """At how many images seen a number was written."""
    return [event.step for event in events.Scalars(name)]
