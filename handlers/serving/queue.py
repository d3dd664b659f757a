"""The one queue in front of a network: interactive work before bulk work, then clients in fair turns.

Clients take turns by start-time fair queueing (Goyal et al. 1996): each is charged what its rows cost, in seconds of
forward passes, and the one that has been charged least is next. A client that comes back after a pause starts where the
others are. Within a client, work goes in its order.

Nothing here knows threads or gRPC; `handlers.serving.batcher` holds a lock around every call.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from handlers.operations.work import Passes, Piece, Work
from handlers.serving.times import PassTimes

K = TypeVar("K")
Outcome = Literal["waiting", "computed", "failed", "expired", "cancelled"]

COMPANY_S = 0.02  # for which few rows wait to join a later pass
QUIET_S = 2.0  # without a caller, after which passes of bulk work may be long: few come to wait for one
BULK_TURN_S = 1.0  # without a pass, after which bulk work gets one before interactive work: it never starves
KEPT_CLIENTS = 64  # without work whose charges are remembered, before any are forgotten


class QueueFullError(Exception):
    """Raised when work is refused because too much waits; `retry_after_s` is when there should be room."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"too much waits for this model; try again in {retry_after_s:.1f} s")
        self.retry_after_s = retry_after_s


@dataclass(slots=True, eq=False)
class Entry:
    """Work in the queue.

    Attributes:
        work: What is to be computed.
        client: Whose turn it takes; nobody's for a canary, which no caller waits for.
        bulk: Whether it waits for interactive work.
        deadline: When it is of no use any more, on the monotonic clock.
        size_bytes: What it holds in memory.
        done: Called once, when the outcome is no longer `waiting`, unless it was cancelled.
        outcome: What became of it.
        given: Rows that passes have been given.
        computed: Rows that passes have computed.
    """

    work: Work
    client: str
    bulk: bool
    deadline: float
    size_bytes: int
    done: Callable[[Entry], None]
    outcome: Outcome = "waiting"
    given: int = 0
    computed: int = 0

    @property
    def left(self) -> int:
        """Rows that no pass has been given yet."""
        return self.work.rows - self.given


@dataclass(frozen=True, slots=True)
class Pass:
    """One forward pass: what computes it, its size, and the rows of each entry in it."""

    passes: Passes
    size: int
    parts: tuple[tuple[Entry, range], ...]
    alone: bool = False  # whether one request has it to itself

    @property
    def pieces(self) -> list[Piece[Work]]:
        """The rows of each work."""
        return [Piece(entry.work, rows) for entry, rows in self.parts]

    @property
    def rows(self) -> int:
        """Rows that somebody has asked for."""
        return sum(len(rows) for _, rows in self.parts)


@dataclass(slots=True)
class _Lane:
    """The work of one class."""

    clients: dict[str, deque[Entry]] = field(default_factory=dict)
    charged: dict[str, float] = field(default_factory=dict)  # seconds, of clients that are ahead of `now`
    now: float = 0.0  # what the client whose turn it was last had been charged
    rows: int = 0
    size_bytes: int = 0
    rows_by_client: Counter[str] = field(default_factory=Counter)
    rows_by_passes: Counter[Passes] = field(default_factory=Counter)

    def add(self, entry: Entry) -> None:
        if entry.client not in self.clients:
            self.clients[entry.client] = deque()
            self.charged[entry.client] = max(self.charged.get(entry.client, 0.0), self.now)
        self.clients[entry.client].append(entry)
        self.size_bytes += entry.size_bytes
        self._count(entry, entry.left)

    def leave(self, entry: Entry) -> None:
        """Take out what is left of an entry."""
        queue = self.clients.get(entry.client)
        if queue is None or entry not in queue:
            return
        queue.remove(entry)
        self._count(entry, -entry.left)
        self.size_bytes -= entry.size_bytes
        if not queue:
            del self.clients[entry.client]
            self._forget()

    def entries(self) -> Iterator[Entry]:
        return itertools.chain.from_iterable(self.clients.values())

    def first(self) -> Entry:
        """The next entry of the client whose turn it is."""
        return self.clients[min(self.clients, key=self.charged.__getitem__)][0]

    def take(self, entry: Entry, rows: int, cost_s: float) -> tuple[Entry, range]:
        """Give rows of an entry to a pass, at its client's cost."""
        given = range(entry.given, entry.given + rows)
        self._count(entry, -rows)
        entry.given += rows
        self.now = max(self.now, self.charged[entry.client])
        self.charged[entry.client] += cost_s
        if not entry.left:
            self.leave(entry)
        return entry, given

    def share(self, passes: Passes, rows: int, row_s: float) -> Iterator[tuple[Entry, range]]:
        """Give at most so many rows, of all clients in fair turns, to one pass."""
        turns = [(self.charged[name], number, name) for number, name in enumerate(self.clients)]
        heapq.heapify(turns)
        while rows and turns:
            _, number, name = heapq.heappop(turns)
            entry = next((each for each in self.clients.get(name, ()) if each.work.passes is passes), None)
            if entry is None:
                continue
            count = min(entry.left, rows)
            rows -= count
            yield self.take(entry, count, count * row_s)
            if name in self.clients:
                heapq.heappush(turns, (self.charged[name], number, name))

    def _forget(self) -> None:
        """Forget clients that have nothing here and are not ahead of the others, once they are many."""
        if len(self.charged) > 2 * len(self.clients) + KEPT_CLIENTS:
            kept = (name for name in self.charged if name in self.clients or self.charged[name] > self.now)
            self.charged = {name: self.charged[name] for name in kept}

    def _count(self, entry: Entry, rows: int) -> None:
        self.rows += rows
        _add(self.rows_by_client, entry.client, rows)
        _add(self.rows_by_passes, entry.work.passes, rows)


def _add(counter: Counter[K], key: K, rows: int) -> None:
    """Count rows, and forget a key that has none."""
    counter[key] += rows
    if not counter[key]:
        del counter[key]


class FairQueue:
    """The work that waits for one network.

    Args:
        times: How long passes take.
        max_rows: Most rows of a class that wait. A client with less than its share of them may still add some, up to
            twice as many in all.
        max_bytes: Most bytes that waiting work of a class holds.
    """

    def __init__(self, times: PassTimes, *, max_rows: int, max_bytes: int) -> None:
        self._times = times
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._lanes = {False: _Lane(), True: _Lane()}
        self._bulk_since = 0.0  # when bulk work began to wait, or last had a pass
        self._interactive_at = -math.inf  # when a caller's work last came

    def add(self, entry: Entry, now: float) -> None:
        """Let work wait.

        Raises:
            QueueFullError: if too much of its class does already.
        """
        lane = self._lanes[entry.bulk]
        rows = lane.rows + entry.left
        share = self._max_rows / (len(lane.clients) + (entry.client not in lane.clients))
        over = rows > self._max_rows and lane.rows_by_client[entry.client] + entry.left > share
        if lane.rows and (over or rows > 2 * self._max_rows or lane.size_bytes + entry.size_bytes > self._max_bytes):
            waiting = sum(rows * self._times.row_seconds(each.name) for each, rows in lane.rows_by_passes.items())
            raise QueueFullError(waiting)
        if entry.client and not entry.bulk:
            self._interactive_at = now
        if entry.bulk and not lane.rows:
            self._bulk_since = now
        lane.add(entry)

    def cancel(self, entry: Entry) -> None:
        """Drop what is left of an entry; it is not told."""
        if entry.outcome == "waiting":
            self._end(entry, "cancelled")

    def fail(self, entry: Entry) -> None:
        """Drop what is left of an entry whose pass failed."""
        self._end(entry, "failed")

    def expired(self, now: float) -> list[Entry]:
        """Drop and return the entries whose deadline has passed."""
        late = [entry for lane in self._lanes.values() for entry in lane.entries() if entry.deadline <= now]
        for entry in late:
            self._end(entry, "expired")
        return late

    def next(
        self, now: float, *, free_lanes: int = 1, alone: bool = True, another_ends_s: float = math.inf
    ) -> Pass | None:
        """Return the next pass; None if nothing waits, or only a little that does better to join a later pass.

        Small passes cost more for each row, and take the cores from callers and other passes. So a pass does not begin
        beside others, nor are rows shared among lanes, unless each has a quarter of the best size.

        Args:
            now: On the monotonic clock.
            free_lanes: Passes that may begin now; this one takes its share of the rows that wait.
            alone: Whether it may be one that a request has to itself; such requests wait otherwise.
            another_ends_s: Seconds until the next of the passes under way should end.
        """
        interactive, bulk = self._lanes[False], self._lanes[True]
        bulk_turn = bulk.rows and (not interactive.rows or now - self._bulk_since >= BULK_TURN_S)
        lane = bulk if bulk_turn else interactive
        if not lane.rows:
            return None
        first = lane.first()
        if first.work.alone and not alone:
            return None
        passes, name = first.work.passes, first.work.passes.name
        only_bulk = not interactive.rows and now - self._interactive_at >= QUIET_S
        few = max(1, self._times.best(name, bulk=only_bulk) // 4)
        if not first.work.alone and self.waiting < few and 0 <= another_ends_s <= COMPANY_S:
            return None
        if bulk_turn:
            self._bulk_since = now
        if first.work.alone:
            return self._alone(lane, first)
        waiting = lane.rows_by_passes[passes]
        rows, size = self._times.choose(name, -(-waiting // min(free_lanes, max(1, waiting // few))), bulk=only_bulk)
        cost_s = self._times.seconds(name, size) / rows
        parts = list(lane.share(passes, rows, cost_s))
        if lane is interactive and rows < size:
            parts += bulk.share(passes, size - rows, cost_s)
        return Pass(passes, size, tuple(parts))

    def rows(self, *, bulk: bool) -> int:
        """Rows of a class that wait."""
        return self._lanes[bulk].rows

    @property
    def waiting(self) -> int:
        """Rows that wait."""
        return sum(lane.rows for lane in self._lanes.values())

    def _alone(self, lane: _Lane, entry: Entry) -> Pass:
        size = entry.work.alone
        part = lane.take(entry, min(entry.left, size), self._times.seconds(entry.work.passes.name, size))
        return Pass(entry.work.passes, size, (part,), alone=True)

    def _end(self, entry: Entry, outcome: Outcome) -> None:
        entry.outcome = outcome
        self._lanes[entry.bulk].leave(entry)
