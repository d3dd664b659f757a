"""Computes what waits, pass after pass, in the threads that use the network: its lanes.

It is greedy: a lone request is computed at once, without a timer in front of it; what arrives meanwhile shares the next
pass. Lanes that are free share what waits. The network works without Python's lock, so that other threads read requests
and write answers at that time.
"""

from __future__ import annotations

import itertools
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Sequence

from handlers.operations.work import Piece, Work, attempt
from handlers.protocol.requests import Failure
from handlers.serving.queue import COMPANY_S, Entry, FairQueue, Pass
from handlers.serving.times import PassTimes

LOG = logging.getLogger("mintage.handlers")
WARM_UP_S = 2.0  # in which sizes are timed before a model is ready
IDLE_S = 0.5  # without work, after which a size may be checked again
RECHECK_S = 30.0  # between two checks, which may keep a caller waiting for two passes
CLOSING_S = 5.0  # a pass takes a moment, or the device hangs
EXPIRY_S = 0.05  # between two searches for expired work


class Batcher:
    """The threads that compute, and the queue before them.

    Args:
        sizes: The sizes that shared passes may have, in rising order.
        max_rows: Of a class that may wait; see `FairQueue`.
        max_bytes: As `max_rows`.
        works: Whether the device still computes; asked after a failure.
        recheck: Looks whether a size is still good, and returns all that are; called now and then while idle.
        recheck_s: Seconds between two calls of it.
        lanes: How many passes are computed at once.
        begin: Called in each of the threads before its first pass.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        max_rows: int,
        max_bytes: int,
        works: Callable[[], bool],
        recheck: Callable[[], Sequence[int]] | None = None,
        recheck_s: float = RECHECK_S,
        lanes: int = 1,
        begin: Callable[[], object] = lambda: None,
    ) -> None:
        self.times = PassTimes(sizes)
        self._queue = FairQueue(self.times, max_rows=max_rows, max_bytes=max_bytes)
        self._works = works
        self._recheck = recheck
        self._recheck_s = recheck_s
        self._recheck_at = time.monotonic() + recheck_s
        self._proven = frozenset(sizes)
        self._changed = threading.Condition()
        self._expired_at = 0.0
        self._lanes = lanes
        self._begin_lane = begin
        self._free_lanes = lanes
        self._alone = False  # whether a pass is under way that one request has to itself
        self._begun = itertools.count(1)
        self._under_way: dict[int, tuple[float, float]] = {}  # beginning and usual seconds, by the number of a pass
        self._threads = [
            threading.Thread(target=self._run, args=(lane,), name=f"batcher-{lane}", daemon=True)
            for lane in range(lanes)
        ]
        self._closed = False

    def start(self) -> None:
        """Begin to compute."""
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Stop after the passes that are being computed, unless they take too long."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        end = time.monotonic() + CLOSING_S
        for thread in self._threads:
            if thread.is_alive():
                thread.join(max(0.0, end - time.monotonic()))

    def warm_up(self, make: Callable[[], Work]) -> None:
        """Time a pass of every size, small ones first, as far as a short time allows; before `start`.

        Args:
            make: Makes work of one row.
        """
        end = time.monotonic() + WARM_UP_S
        for size in self.times.sizes:
            seconds = []
            for _ in range(3):  # kernels are chosen in the first pass of a size
                work = make()
                begin = time.perf_counter()
                work.passes.compute([Piece(work, range(work.rows))], size)
                seconds.append(time.perf_counter() - begin)
            self.times.measured(work.passes.name, size, min(seconds))
            if time.monotonic() >= end:
                return

    def add(self, entry: Entry) -> None:
        """Let work wait; its `done` is called in a thread that computes.

        Raises:
            QueueFullError: if too much waits already.
        """
        with self._changed:
            self._queue.add(entry, time.monotonic())
            self._changed.notify()

    def cancel(self, entry: Entry) -> None:
        """Drop what no pass has computed yet; `done` is not called any more, unless it is being called now."""
        with self._changed:
            self._queue.cancel(entry)

    def waiting(self) -> dict[str, int]:
        """Return the rows that wait, by class."""
        with self._changed:
            return {"interactive": self._queue.rows(bulk=False), "bulk": self._queue.rows(bulk=True)}

    def progress(self) -> dict[str, float]:
        """Return the number of the longest pass under way, its seconds so far and usually; nothing if none is."""
        under_way = list(self._under_way.items())
        if not under_way:
            return {}
        number, (begin, usual_s) = min(under_way)
        return {"pass": number, "pass_s": time.monotonic() - begin, "usual_s": usual_s}

    @property
    def withdrawn(self) -> list[int]:
        """The sizes that a check found to be bad, in rising order."""
        return sorted(self._proven.difference(self.times.sizes))

    def _run(self, lane: int) -> None:
        self._begin_lane()
        try:
            while (chosen := self._next(rechecks=lane == 0)) is not None:
                self._compute(chosen)
        except BaseException:
            LOG.critical("the thread that computes failed; this worker ends", exc_info=True)
            end_worker()

    def _next(self, *, rechecks: bool) -> Pass | None:
        """Wait for the next pass; None once closed.

        Args:
            rechecks: Whether a size may be checked meanwhile.
        """
        rechecks = rechecks and self._recheck is not None
        while True:
            with self._changed:
                while True:
                    if self._closed:
                        return None
                    late = self._expired()
                    chosen = None if late else self._choose()
                    if late or chosen is not None:
                        break
                    changed = self._changed.wait(COMPANY_S if self._queue.waiting else IDLE_S if rechecks else None)
                    if rechecks and not changed and time.monotonic() >= self._recheck_at and self._idle():
                        break
            for entry in late:
                entry.done(entry)
            if chosen is not None:
                return chosen
            if not late:
                self._check_a_size()

    def _choose(self) -> Pass | None:
        """Take the next pass, of this free lane's share of what waits; the rest is for the others."""
        chosen = self._queue.next(
            time.monotonic(),
            free_lanes=self._free_lanes,
            alone=not self._alone,
            another_ends_s=self._another_ends_s(),
        )
        if chosen is not None:
            self._free_lanes -= 1
            self._alone = self._alone or chosen.alone
            if self._free_lanes and self._queue.waiting:
                self._changed.notify()
        return chosen

    def _idle(self) -> bool:
        """Whether nothing is computed and nothing waits."""
        return self._free_lanes == self._lanes and not self._queue.waiting

    def _another_ends_s(self) -> float:
        """Seconds until the next of the passes under way should end, below 0 if it is late; infinity without any."""
        now = time.monotonic()
        return min((begin + usual_s - now for begin, usual_s in list(self._under_way.values())), default=math.inf)

    def _check_a_size(self) -> None:
        """Check a size in two passes, and use it no more if it is bad."""
        assert self._recheck is not None  # noqa: S101 - only then the wait ends
        number = self._begin(2 * max((self.times.seconds("", size) for size in self.times.sizes), default=0.0))
        sizes = attempt(self._recheck)
        del self._under_way[number]
        if isinstance(sizes, Failure):
            self._end_if_broken()
        else:
            with self._changed:
                self.times.keep(sizes)
        self._recheck_at = time.monotonic() + self._recheck_s

    def _expired(self) -> list[Entry]:
        now = time.monotonic()
        if now < self._expired_at + EXPIRY_S:
            return []
        self._expired_at = now
        return self._queue.expired(now)

    def _compute(self, chosen: Pass) -> None:
        number = self._begin(self.times.seconds(chosen.passes.name, chosen.size))
        begin = time.perf_counter()
        failure = attempt(lambda: chosen.passes.compute(chosen.pieces, chosen.size))
        seconds = time.perf_counter() - begin
        del self._under_way[number]
        if isinstance(failure, Failure):
            self._end_if_broken()
        for entry in self._finished(chosen, None if isinstance(failure, Failure) else seconds):
            entry.done(entry)

    def _begin(self, usual_s: float) -> int:
        """Note that a pass begins; returns its number."""
        number = next(self._begun)
        self._under_way[number] = (time.monotonic(), usual_s)
        return number

    def _finished(self, chosen: Pass, seconds: float | None) -> list[Entry]:
        """Free the lane, and return the entries that are complete with a pass of so many seconds, or failed in it."""
        finished = []
        with self._changed:
            self._free_lanes += 1
            self._alone = self._alone and not chosen.alone
            if seconds is not None:
                self.times.measured(chosen.passes.name, chosen.size, seconds)
            for entry, rows in chosen.parts:
                entry.computed += len(rows)
                if entry.outcome != "waiting":
                    continue
                if seconds is None:
                    self._queue.fail(entry)
                elif entry.computed == entry.work.rows:
                    entry.outcome = "computed"
                else:
                    continue
                finished.append(entry)
        return finished

    def _end_if_broken(self) -> None:
        """End this worker if its device no longer computes: TorchServe then starts another one."""
        if not self._works():
            LOG.critical("the device no longer computes; this worker ends")
            end_worker()


def end_worker() -> None:
    """End this process, whatever its other threads do; TorchServe starts another one."""
    os._exit(1)
