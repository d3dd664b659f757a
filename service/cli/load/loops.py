"""One process of clients under one load, a thread and a connection per client.

Closed loop: each client calls again as soon as it has its answer. Open loop: calls have intended starts, a Poisson
process, and each client takes the next one. Latency counts from the intended start, so a call that waits for a free
client or a slow server shows it ("coordinated omission" would hide it).
"""

from __future__ import annotations

import itertools
import random
import threading
import time
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from service.cli.load.target import CallFailedError, Connection

PAUSE_S = 0.05  # of a client after an error, so that a server that refuses at once is not flooded


@dataclass(frozen=True, slots=True)
class Load:
    """What all processes together put on a server.

    Attributes:
        clients: Calls at once: exactly so many in a closed loop, at most so many in an open one.
        rate: Calls per second that start, on average; 0 for a closed loop.
        warm_up_s: Time before anything counts.
        seconds: Time that counts.
        seed: Of the intended starts.
    """

    clients: int
    rate: float = 0.0
    warm_up_s: float = 2.0
    seconds: float = 10.0
    seed: int = 0


@dataclass(slots=True)
class Counted:
    """What one process saw in the time that counts. Seconds."""

    latencies: array[float] = field(default_factory=lambda: array("d"))
    errors: Counter[str] = field(default_factory=Counter)
    messages: dict[str, str] = field(default_factory=dict)  # of the first error of each code
    cpu_s: float = 0.0


def run(connections: Sequence[Connection], load: Load, *, start: float, part: int, parts: int) -> Counted:
    """Put one part of a load on a server.

    Args:
        connections: One per client of this process.
        load: The load of all processes together.
        start: When it begins, of time.monotonic(), which all processes of a machine share.
        part: Which process this is, from 0 to parts - 1. Calls are numbered apart.
        parts: Number of processes.
    """
    counted, lock = Counted(), threading.Lock()
    numbers = itertools.count(part, parts)
    first, last = start + load.warm_up_s, start + load.warm_up_s + load.seconds
    starts = intended_starts(load, start, part, parts)

    def client(connection: Connection) -> None:
        while (begin := _next_start(starts, lock) if load.rate else time.monotonic()) < last:
            _sleep_until(begin)
            problem: CallFailedError | None = None
            try:
                connection.call(next(numbers))
            except CallFailedError as error:
                problem = error
            end = time.monotonic()
            # An open loop counts what was meant to start in the window, a closed loop what ended in it.
            if first <= (begin if load.rate else end) <= last:
                with lock:
                    _count(counted, problem, end - begin)
            if problem is not None:
                time.sleep(PAUSE_S)

    threads = [threading.Thread(target=client, args=(one,), daemon=True) for one in connections]
    _sleep_until(start)
    for thread in threads:
        thread.start()
    _sleep_until(first)
    before = time.process_time()
    _sleep_until(last)
    counted.cpu_s = time.process_time() - before
    for thread in threads:
        thread.join()
    return counted


def intended_starts(load: Load, start: float, part: int, parts: int) -> Iterator[float]:
    """Yield the intended starts of one process's calls: a Poisson process with its share of the rate."""
    draw = random.Random(f"{load.seed}-{part}")  # noqa: S311 - times, no secrets
    at = start
    while True:
        at += draw.expovariate(load.rate / parts)
        yield at


def _next_start(starts: Iterator[float], lock: threading.Lock) -> float:
    with lock:  # a generator runs in one thread at a time
        return next(starts)


def _sleep_until(moment: float) -> None:
    if (left := moment - time.monotonic()) > 0:
        time.sleep(left)


def _count(counted: Counted, problem: CallFailedError | None, latency: float) -> None:
    if problem is None:
        counted.latencies.append(latency)
    else:
        counted.errors[problem.code] += 1
        counted.messages.setdefault(problem.code, problem.message)
