"""A dispatcher whose hints are lost, doubled or shuffled: python -m tests.faults.unreliable serve dispatcher.

MINTAGE_TEST_HINTS says how: `double` sends each hint twice, `drop` never sends a shard's first one, `reorder` keeps
hints back and sends them in a random order, by the seed in MINTAGE_TEST_SEED.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable

from service.jobs.dispatch import dispatcher
from service.settings import settings

Hints = list[tuple[str, int]]


class Unreliable(dispatcher.Dispatcher):
    """Sends hints through a fault."""

    def send(self, hints: Hints) -> None:
        sent = FAULT(hints)
        if sent:
            super().send(sent)


class Dropper:
    """Loses the first hint of every shard."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int]] = set()

    def __call__(self, hints: Hints) -> Hints:
        sent = [hint for hint in hints if hint in self._seen]
        self._seen.update(hints)
        return sent


class Shuffler:
    """Keeps up to three hints back, and sends the others in any order."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._kept: Hints = []

    def __call__(self, hints: Hints) -> Hints:
        hints = self._kept + hints
        self._random.shuffle(hints)
        kept = self._random.randrange(min(3, len(hints)) + 1)
        self._kept = hints[:kept]
        return hints[kept:]


FAULTS: dict[str, Callable[[], Callable[[Hints], Hints]]] = {
    "double": lambda: lambda hints: hints * 2,
    "drop": Dropper,
    "reorder": lambda: Shuffler(int(os.environ["MINTAGE_TEST_SEED"])),
}


if __name__ == "__main__":
    FAULT = FAULTS[os.environ["MINTAGE_TEST_HINTS"]]()
    dispatcher.Dispatcher = Unreliable  # type: ignore[misc]
    dispatcher.serve(settings())
