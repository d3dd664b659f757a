"""What happened, one JSON object per line: who began what (`invoke`), and how it ended.

`ok`: it took effect. `fail`: it was refused and had no effect. `info`: nobody knows, the answer was lost. Append-only,
so what a crash of the soak itself leaves behind can be read too.
"""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["invoke", "ok", "fail", "info"]


@dataclass(frozen=True, slots=True)
class Event:
    """One line. `time_s` counts from the soak's beginning; `number` is the line's."""

    time_s: float
    process: str
    operation: str
    kind: Kind
    facts: dict[str, Any] = field(default_factory=dict)
    number: int = 0


class History:
    """Writes events as they happen; threads may share it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("a", encoding="utf-8")
        self._lock = threading.Lock()
        self._begin = time.monotonic()

    def add(self, process: str, operation: str, kind: Kind, **facts: Any) -> None:
        """Append an event."""
        with self._lock:
            event = [round(self.now(), 4), process, operation, kind, facts]
            self._file.write(json.dumps(event, sort_keys=True) + "\n")
            self._file.flush()

    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._begin

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read(path: Path) -> list[Event]:
    """Read a history."""
    events = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        time_s, process, operation, kind, facts = json.loads(line)
        events.append(Event(time_s, process, operation, kind, facts, number))
    return events
