"""Saturation of servers whose throughput is known."""

from __future__ import annotations

from collections.abc import Callable

from service.cli.load.loops import Load
from service.cli.load.measurement import Measurement
from service.cli.load.saturation import best_of, saturate


def server(images_per_second: Callable[[int], float]) -> Callable[[Load], Measurement]:
    """A server that answers so many images per second to so many clients."""

    def run(load: Load) -> Measurement:
        assert load.rate == 0
        calls = round(images_per_second(load.clients) * load.seconds)
        return Measurement(load=load, images=1, calls=calls, p50_ms=1, p90_ms=1, p99_ms=1, max_ms=1)

    return run


def test_the_search_ends_two_doublings_after_the_last_gain() -> None:
    found = saturate(server(lambda clients: min(100 * clients, 800)), Load(clients=1, rate=5))
    assert [one.load.clients for one in found] == [1, 2, 4, 8, 16, 32]
    assert best_of(found).images_per_second == 800


def test_the_best_is_kept_where_more_clients_do_harm() -> None:
    found = saturate(server(lambda clients: 100 * clients if clients < 8 else 50), Load(clients=1))
    assert best_of(found).load.clients == 4


def test_the_search_ends_at_the_most_clients() -> None:
    found = saturate(server(lambda clients: clients), Load(clients=1), max_clients=20)
    assert [one.load.clients for one in found] == [1, 2, 4, 8, 16]


def test_a_server_that_answers_nothing_ends_the_search() -> None:
    assert [one.load.clients for one in saturate(server(lambda _: 0), Load(clients=1))] == [1, 2]
