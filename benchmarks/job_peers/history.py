"""What happened to units of work: the notes that tasks append to one file, and how often each unit was done."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

VARIABLE = "PEER_HISTORY"


@dataclass(frozen=True, slots=True)
class Note:
    """One line of the file: at `time` (seconds since 1970) worker `worker`, a process id, had `event` with `unit`."""

    time: float
    event: str
    unit: int
    worker: int


@dataclass(frozen=True, slots=True)
class Done:
    """How many of some units were done never, once, and more than once."""

    never: int
    once: int
    more: int

    def __str__(self) -> str:
        parts = [(self.once, "once"), (self.more, "more than once"), (self.never, "never")]
        return ", ".join(f"{count} {word}" for count, word in parts if count)


def note(event: str, unit: int) -> None:
    """Append a note of this process; its worker is the parent, of which it is one of a pool."""
    line = f"{time.time():.6f} {event} {unit} {os.getppid()}\n"
    file = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode("ascii"))  # one write, so that lines of several processes do not mix
    finally:
        os.close(file)


def read(path: Path) -> list[Note]:
    """Read the notes so far."""
    if not path.exists():
        return []
    lines = [line.split() for line in path.read_text(encoding="ascii").splitlines(keepends=True) if line.endswith("\n")]
    return [Note(float(at), event, int(unit), int(worker)) for at, event, unit, worker in lines]


def count(done: Iterable[int], units: Iterable[int]) -> Done:
    """Count `units` by how often they are among `done`."""
    times = Counter(done)
    found = [times[unit] for unit in units]
    return Done(never=found.count(0), once=found.count(1), more=sum(1 for each in found if each > 1))
