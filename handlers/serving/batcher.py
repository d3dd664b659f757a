"""Computes what waits, pass after pass, in the one thread that uses the network.

It is greedy: a lone request is computed at once, without a timer in front of it; what arrives meanwhile shares the next
pass. The network works without Python's lock, so that other threads read requests and write answers at that time.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Sequence

from handlers.operations.work import Piece, Work, attempt
from handlers.protocol.requests import Failure
from handlers.serving.queue import Entry, FairQueue, Pass
from handlers.serving.times import PassTimes

LOG = logging.getLogger("mintage.handlers")
WARM_UP_S = 2.0  # in which sizes are timed before a model is ready
IDLE_S = 0.5  # without work, after which a size may be checked again
RECHECK_S = 30.0  # between two checks, which may keep a caller waiting for two passes
CLOSING_S = 5.0  # a pass takes a moment, or the device hangs
EXPIRY_S = 0.05  # between two searches for expired work


class Batcher:
    """The thread that computes, and the queue before it.

    Args:
        sizes: The sizes that shared passes may have, in rising order.
        max_rows: Of a class that may wait; see `FairQueue`.
        max_bytes: As `max_rows`.
        works: Whether the device still computes; asked after a failure.
        recheck: Looks whether a size is still good, and returns all that are; called now and then while idle.
        recheck_s: Seconds between two calls of it.
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
        self._begun = 0
        self._under_way: tuple[int, float, float] | None = None  # number, beginning and usual seconds of a pass
        self._thread = threading.Thread(target=self._run, name="batcher", daemon=True)
        self._closed = False

    def start(self) -> None:
        """Begin to compute."""
        self._thread.start()

    def close(self) -> None:
        """Stop after the pass that is being computed, unless that takes too long."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(CLOSING_S)

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
        """Let work wait; its `done` is called in the thread that computes.

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
        """Return the number of the pass that is being computed, its seconds so far and usually; nothing if none is."""
        if (under_way := self._under_way) is None:
            return {}
        number, begin, usual_s = under_way
        return {"pass": number, "pass_s": time.monotonic() - begin, "usual_s": usual_s}

    @property
    def withdrawn(self) -> list[int]:
        """The sizes that a check found to be bad, in rising order."""
        return sorted(self._proven.difference(self.times.sizes))

    def _run(self) -> None:
        try:
            while (chosen := self._next()) is not None:
                self._compute(chosen)
        except BaseException:
            LOG.critical("the thread that computes failed; this worker ends", exc_info=True)
            end_worker()

    def _next(self) -> Pass | None:
        """Wait for the next pass; None once closed."""
        while True:
            with self._changed:
                while True:
                    if self._closed:
                        return None
                    late = self._expired()
                    chosen = None if late else self._queue.next(time.monotonic())
                    if late or chosen is not None:
                        break
                    changed = self._changed.wait(IDLE_S if self._recheck else None)
                    if not changed and time.monotonic() >= self._recheck_at:
                        break
            for entry in late:
                entry.done(entry)
            if chosen is not None:
                return chosen
            if not late:
                self._check_a_size()

    def _check_a_size(self) -> None:
        """Check a size in two passes, and use it no more if it is bad."""
        assert self._recheck is not None  # noqa: S101 - only then the wait ends
        self._begin(2 * max((self.times.seconds("", size) for size in self.times.sizes), default=0.0))
        sizes = attempt(self._recheck)
        self._under_way = None
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
        self._begin(self.times.seconds(chosen.passes.name, chosen.size))
        begin = time.perf_counter()
        failure = attempt(lambda: chosen.passes.compute(chosen.pieces, chosen.size))
        self._under_way = None
        if isinstance(failure, Failure):
            self._end_if_broken()
        else:
            self.times.measured(chosen.passes.name, chosen.size, time.perf_counter() - begin)
        for entry in self._finished(chosen, failed=failure is not None):
            entry.done(entry)

    def _begin(self, usual_s: float) -> None:
        """Note that a pass begins."""
        self._begun += 1
        self._under_way = (self._begun, time.monotonic(), usual_s)

    def _finished(self, chosen: Pass, *, failed: bool) -> list[Entry]:
        """Return the entries that are complete with a pass, or failed in it."""
        finished = []
        with self._changed:
            for entry, rows in chosen.parts:
                entry.computed += len(rows)
                if entry.outcome != "waiting":
                    continue
                if failed:
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
