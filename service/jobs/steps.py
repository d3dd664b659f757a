"""How far the end of a job is: noted by the thread that writes it, for the dispatcher to tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Report = Callable[[int], None]  # called with the number of items just done


@dataclass(frozen=True, slots=True)
class Step:
    """What is being done, and how many of its images, shards or the like are; 0 of 0 where that is not counted."""

    name: str
    done: int = 0
    total: int = 0


class Steps:
    """The step that one thread is at. Other threads may look at any time."""

    def __init__(self) -> None:
        self.now: Step | None = None

    def begin(self, name: str, total: int = 0) -> Report:
        """Begin a step; what is returned counts its items."""
        done = 0

        def report(items: int) -> None:
            nonlocal done
            done += items
            self.note(Step(name, done, total))

        report(0)
        return report

    def note(self, step: Step) -> None:
        """Note how far it is."""
        self.now = step
