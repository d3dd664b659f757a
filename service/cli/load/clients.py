"""Clients in processes of their own, so that Python's lock does not make the client the limit; they outlive a load."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import SpawnProcess
from types import TracebackType

from service.cli.load import processor
from service.cli.load.loops import Counted, Load, run
from service.cli.load.measurement import Measurement, summarise
from service.cli.load.target import Connection, Target

LEAD_S = 0.05  # from the order to a load's start, for the processes to begin together
READY_S = 60.0  # for a process to start
LATE_S = 120.0  # for the last calls to end


class Clients:
    """Processes of clients; a context manager.

    Args:
        processes: How many processes share the clients of a load.
        cores: Cores that they may run on; None is all that this process may.
    """

    def __init__(self, processes: int, cores: frozenset[int] | None = None) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Pipe] = []
        self._processes: list[SpawnProcess] = []
        for part in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, part, processes, cores), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def __enter__(self) -> Clients:
        for pipe in self._pipes:
            _received(pipe, READY_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            if error is not None:
                process.terminate()
            process.join()

    def run(self, target: Target, load: Load, meter: processor.Meter = dict) -> Measurement:
        """Put a load on a target, wait for its last answer, and return what it showed.

        Args:
            target: What is called.
            load: What is put on it.
            meter: Reads the CPU seconds of the target's processes.
        """
        start = time.monotonic() + LEAD_S
        for pipe in self._pipes:
            pipe.send((target, load, start))
        _sleep_until(start + load.warm_up_s)
        before = meter()
        _sleep_until(start + load.warm_up_s + load.seconds)
        cores = processor.cores_between(before, meter(), load.seconds)
        counted = [_received(pipe, LATE_S) for pipe in self._pipes]
        return summarise(load, target.images, [part for part in counted if part], cores)


def share(clients: int, part: int, parts: int) -> int:
    """Clients of one process, as equal as can be."""
    return clients // parts + (part < clients % parts)


def _serve(pipe: Pipe, part: int, parts: int, cores: frozenset[int] | None) -> None:
    """Run one process of clients: load after load until the other end closes. Connections to one target are kept."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    if cores is not None:
        os.sched_setaffinity(0, cores)
    known: Target | None = None
    connections: list[Connection] = []
    pipe.send(None)
    while True:
        try:
            target, load, start = pipe.recv()
        except EOFError:
            break
        if target != known:
            _close(connections)
            known, connections = target, []
        wanted = share(load.clients, part, parts)
        while len(connections) < wanted:
            connections.append(target.connect())
        pipe.send(run(connections[:wanted], load, start=start, part=part, parts=parts))
    _close(connections)


def _close(connections: list[Connection]) -> None:
    for connection in connections:
        connection.close()


def _sleep_until(moment: float) -> None:
    time.sleep(max(0.0, moment - time.monotonic()))


def _received(pipe: Pipe, timeout_s: float) -> Counted | None:
    """What a process sent; a RuntimeError if it does not."""
    try:
        if pipe.poll(timeout_s):
            found: Counted | None = pipe.recv()
            return found
    except EOFError:
        pass
    raise RuntimeError("a process of clients ended, or does not answer; its error is above")
