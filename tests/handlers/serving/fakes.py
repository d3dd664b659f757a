"""Work whose passes are noted instead of computed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from handlers.operations.work import Piece
from handlers.protocol.requests import Answer
from handlers.serving.queue import Entry


@dataclass(eq=False)
class NotedPasses:
    """Notes every pass: the labels and rows of its pieces, and its size; `before` is called first."""

    name: str = "generate"
    before: Callable[[], None] = lambda: None
    noted: list[tuple[dict[str, range], int]] = field(default_factory=list)

    def compute(self, pieces: Sequence[Piece[Any]], size: int) -> None:
        """Note a pass."""
        self.before()
        self.noted.append(({piece.work.label: piece.rows for piece in pieces}, size))


@dataclass(eq=False)
class NotedWork:
    """Rows with a label."""

    passes: NotedPasses
    rows: int = 1
    label: str = ""
    alone: int = 0

    def answer(self) -> Answer:
        """Answer with the label."""
        return Answer(facts={"label": self.label})


def entry(
    work: NotedWork,
    client: str = "",
    *,
    bulk: bool = False,
    deadline: float = math.inf,
    size_bytes: int = 0,
    done: Callable[[Entry], None] = lambda _: None,
) -> Entry:
    """An entry of the queue."""
    return Entry(work, client or work.label, bulk, deadline, size_bytes, done)


def wait_until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        time.sleep(0.001)
