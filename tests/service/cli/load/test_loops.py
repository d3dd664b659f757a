"""Closed and open loops over connections whose answers the test decides."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter

import numpy as np
import pytest

from service.cli.load.clients import share
from service.cli.load.loops import Counted, Load, intended_starts, run
from service.cli.load.measurement import summarise
from service.cli.load.target import CallFailedError


class Slow:
    """Connections to a server that takes a while, one call at a time, and fails every n-th call."""

    def __init__(self, seconds: float = 0.0, fail_every: int = 0) -> None:
        self.seconds, self.fail_every = seconds, fail_every
        self.numbers: list[int] = []
        self.at_once = self.most_at_once = 0
        self._server, self._lock = threading.Lock(), threading.Lock()

    def call(self, number: int) -> None:
        with self._lock:
            self.numbers.append(number)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        with self._server:
            time.sleep(self.seconds)
        with self._lock:
            self.at_once -= 1
        if self.fail_every and number % self.fail_every == 0:
            raise CallFailedError("UNAVAILABLE", "gone")

    def close(self) -> None: ...


def counted(server: Slow, load: Load, *, part: int = 0, parts: int = 1) -> Counted:
    return run([server] * load.clients, load, start=time.monotonic(), part=part, parts=parts)


def test_a_closed_loop_keeps_every_client_busy_and_numbers_its_calls_apart() -> None:
    server = Slow(0.002)
    found = counted(server, Load(clients=3, warm_up_s=0.05, seconds=0.3), part=1, parts=2)
    assert server.most_at_once == 3
    assert sorted(server.numbers) == list(range(1, 2 * len(server.numbers), 2))
    assert 0 < len(found.latencies) < len(server.numbers), "calls of the warm-up do not count"
    assert found.errors == Counter()


def test_an_open_loop_counts_latency_from_the_intended_start() -> None:
    """Twice as many calls as the server can answer: each waits for all before it, which a closed loop would hide."""
    server = Slow(0.01)
    load = Load(clients=4, rate=200, warm_up_s=0.0, seconds=0.5)
    found = counted(server, load)
    assert server.most_at_once == 4
    assert max(found.latencies) > 5 * 0.01 > min(found.latencies)
    intended = itertools.takewhile(lambda at: at < load.seconds, intended_starts(load, 0.0, 0, 1))
    assert len(found.latencies) == len(server.numbers) == len(list(intended))


def test_errors_are_counted_by_code_and_are_no_latencies() -> None:
    found = counted(Slow(0.001, fail_every=2), Load(clients=1, warm_up_s=0.0, seconds=0.3))
    assert found.errors["UNAVAILABLE"] > 0
    assert found.messages == {"UNAVAILABLE": "gone"}
    measured = summarise(Load(clients=1, seconds=0.3), 8, [found, found], {"API": 0.5})
    assert measured.errors == {"UNAVAILABLE": 2 * found.errors["UNAVAILABLE"]}
    assert measured.calls == 2 * len(found.latencies)
    assert measured.images_per_second == pytest.approx(8 * measured.calls / 0.3)
    assert measured.p50_ms <= measured.p90_ms <= measured.p99_ms <= measured.max_ms
    assert set(measured.cores) == {"client", "API"}


def test_nothing_answered_is_no_latency() -> None:
    measured = summarise(Load(clients=1), 1, [Counted()], {})
    assert measured.to_dict()["p99_ms"] is None
    assert measured.images_per_second == 0


@pytest.mark.parametrize("parts", [1, 3])
def test_intended_starts_are_a_poisson_process_of_the_whole_rate(parts: int) -> None:
    load = Load(clients=1, rate=500.0)
    each = [np.diff(list(itertools.islice(intended_starts(load, 7.0, part, parts), 20_000))) for part in range(parts)]
    for pauses in each:
        assert np.mean(pauses) == pytest.approx(parts / 500.0, rel=0.05)
        assert np.std(pauses) == pytest.approx(np.mean(pauses), rel=0.05)  # as an exponential distribution has
    assert len({float(pauses[0]) for pauses in each}) == parts


def test_clients_are_shared_out() -> None:
    assert [share(7, part, 3) for part in range(3)] == [3, 2, 2]
    assert [share(1, part, 2) for part in range(2)] == [1, 0]
