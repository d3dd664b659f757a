"""The rows of the comparison, what each cell holds, and the sizes of what is tried."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from benchmarks.job_peers.history import Done

ROWS = {
    "worker": "kill -9 of a worker while it works",
    "idle": "idle workers stall, a few units arrive, the workers are killed with -9",
    "broker": "kill -9 of the broker in the middle, and its restart",
    "long": "a unit that takes 25 s, where a silent worker is given up after 10 s",
    "poison": "a unit that kills the process that works on it, four good ones behind it",
    "queued": "many tiny units",
    "cancel": "cancel of running work",
    "unheard": "cancel while no worker runs, then workers start",
    "progress": "progress of work of 5 s, as the caller sees it",
    "fair": "one client has a long queue, another brings one unit",
}
WORKERS = 2
LONG_S = 25.0
OBSERVED_S = 60.0  # from the start of the long unit
POISON_S = 45.0  # how long the poison is observed
LIMIT_S = 120.0  # for work to end after a fault
DRAIN_S = 10.0  # over which tiny units a second are counted
BACKLOG_S = 30.0  # the long queue, for all workers together


@dataclass(frozen=True, slots=True)
class Cell:
    """What one system did in one row.

    Attributes:
        word: What a reader should know, with its figures.
        done: How often units were done, where units are counted.
        seconds: Until recovered, stopped or served, where that is measured; None where it never happened.
        figures: Everything else, for JSON.
        counted: Which units `done` counts, if not all.
    """

    word: str
    done: Done | None = None
    seconds: float | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    counted: str = ""

    def __str__(self) -> str:
        counts = [f"{self.counted} {self.done}".strip()] if self.done else []
        return "; ".join([*counts, self.word])


def wait_until(holds: Callable[[], bool], limit_s: float = LIMIT_S, pause_s: float = 0.05) -> bool:
    """Wait until something holds; False if it does not in time."""
    deadline = time.monotonic() + limit_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
    return True


def after(seconds: float | None, what: str) -> str:
    """Say how long something took, or that it never came."""
    return f"{seconds:.1f} s until {what}" if seconds is not None else f"never: {what} (looked for {LIMIT_S:g} s)"
