"""Finds how much a server can do: closed loops with more and more clients, until more clients bring no more images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from service.cli.load.loops import Load
from service.cli.load.measurement import Measurement

GAIN = 1.05  # more images per second than before that count as more
MAX_CLIENTS = 256


def saturate(run: Callable[[Load], Measurement], load: Load, *, max_clients: int = MAX_CLIENTS) -> list[Measurement]:
    """Double the clients of a closed loop, from 1, until two doublings in a row bring no gain.

    Returns: every measurement, in order; the one with the most images per second is saturation.
    """
    found: list[Measurement] = []
    best, idle, clients = 0.0, 0, 1
    while clients <= max_clients and idle < 2:
        found.append(run(replace(load, clients=clients, rate=0.0)))
        rate = found[-1].images_per_second
        idle = 0 if rate > GAIN * best else idle + 1
        best, clients = max(best, rate), 2 * clients
    return found


def best_of(found: list[Measurement]) -> Measurement:
    """The measurement at saturation."""
    return max(found, key=lambda one: one.images_per_second)
