"""How long forward passes take, as measured; and which size the next one should have."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

WEIGHT = 0.2  # of the newest pass in the mean: follows a machine that gets busier within a few passes
LONGEST_PASS_S = 0.05  # what a caller should wait for a pass that has begun, where smaller ones are about as fast
LONGEST_BULK_PASS_S = 0.2  # the same, where nothing but bulk work comes
NEAR_BEST = 0.9  # of the images per second of the best size: a smaller size that reaches it is preferred
BULK_NEAR_BEST = 0.98  # the same, where nothing but bulk work comes: a larger size that reaches it is preferred
UNKNOWN_S = 0.001  # for a row, before any pass was measured
RETRY_S, RETRY_SHARE = 1.0, 20  # after so long, and so many times its length, the time of a size is old


class PassTimes:
    """Seconds of a pass by operation and size.

    A size that was slow once, because the machine was busy, must not be passed over for ever: when its time is old and
    enough rows wait, it is tried again; so is one that there was no time to measure.

    Args:
        sizes: The sizes that passes may have, in rising order.
        clock: Seconds, which only rise.
    """

    def __init__(self, sizes: Sequence[int], clock: Callable[[], float] = time.monotonic) -> None:
        self.sizes = tuple(sizes)
        self._clock = clock
        self._means: dict[str, dict[int, float]] = {}
        self._measured_at: dict[tuple[str, int], float] = {}
        self._best: dict[tuple[str, bool], int] = {}

    def keep(self, sizes: Sequence[int]) -> None:
        """Let passes have these sizes only."""
        self.sizes = tuple(sizes)
        self._best.clear()

    def measured(self, name: str, size: int, seconds: float) -> None:
        """Note how long a pass took."""
        means = self._means.setdefault(name, {})
        known = seconds if self._is_old(name, size) else means.get(size, seconds)
        means[size] = known + WEIGHT * (seconds - known)
        self._measured_at[name, size] = self._clock()
        self._best.clear()

    def seconds(self, name: str, size: int) -> float:
        """Return how long a pass should take.

        A size that was never measured costs as the nearest one by the row; an operation that was never measured, as
        that of the first measurements.
        """
        means = self._means.get(name) or next(iter(self._means.values()), None)
        if not means:
            return UNKNOWN_S * size
        if size in means:
            return means[size]
        nearest = min(means, key=lambda known: abs(known - size))
        return means[nearest] * size / nearest

    def row_seconds(self, name: str) -> float:
        """Return what a row costs in a pass of the best size."""
        best = self.best(name)
        return self.seconds(name, best) / best

    def best(self, name: str, *, bulk: bool = False) -> int:
        """Return the size for full passes.

        It is the smallest one that gives about as many images per second as the best, among those that are not too
        long; for bulk work alone the largest, since what an image costs counts, and a caller who comes meanwhile waits
        for one pass at most. Where every size is too long, it is the smallest that is about as fast as the best of all.
        """
        if (name, bulk) not in self._best:
            short = [size for size in self.sizes if self.seconds(name, size) <= _longest_s(bulk=bulk)]
            near = self._near_best(name, short or self.sizes, BULK_NEAR_BEST if bulk else NEAR_BEST)
            self._best[name, bulk] = max(near) if bulk and short else min(near)
        return self._best[name, bulk]

    def choose(self, name: str, waiting: int, *, bulk: bool = False) -> tuple[int, int]:
        """Return how many of the waiting rows a pass should take, and its size.

        The rest of a pass is filled up. Where two passes would take less time than that, fewer rows fill a smaller
        one, and the others wait for the next. A larger size than that whose time is old is tried again.

        Args:
            name: The operation.
            waiting: Rows, at least 1.
            bulk: Whether nothing but bulk work comes.
        """
        best = self.best(name, bulk=bulk)
        if waiting >= best:
            old = (size for size in self.sizes if best < size <= waiting and self._is_old(name, size, bulk=bulk))
            chosen = next(old, best)
            return chosen, chosen
        larger = self._holding(waiting)
        if self._is_old(name, larger, bulk=bulk):
            return waiting, larger
        smaller = max((size for size in self.sizes if size < waiting), default=0)
        if smaller:
            rest = self._holding(waiting - smaller)
            if self.seconds(name, smaller) + self.seconds(name, rest) < self.seconds(name, larger):
                return smaller, smaller
        return waiting, larger

    def _is_old(self, name: str, size: int, *, bulk: bool = False) -> bool:
        """Whether a size was measured so long ago that trying it again costs little, or never and may be short."""
        at = self._measured_at.get((name, size))
        if at is None:
            return bool(self._means) and self.seconds(name, size) <= _longest_s(bulk=bulk)
        return self._clock() - at >= max(RETRY_S, RETRY_SHARE * self._means[name][size])

    def _holding(self, rows: int) -> int:
        """Return the smallest size that holds so many rows."""
        return min(size for size in self.sizes if size >= rows)

    def _near_best(self, name: str, sizes: Sequence[int], near: float) -> list[int]:
        """Return the sizes that give as many images per second as the best of them, or nearly."""
        rates = {size: size / self.seconds(name, size) for size in sizes}
        return [size for size, rate in rates.items() if rate >= near * max(rates.values())]


def _longest_s(*, bulk: bool) -> float:
    return LONGEST_BULK_PASS_S if bulk else LONGEST_PASS_S
