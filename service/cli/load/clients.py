"""Clients in processes of their own, so that Python's lock does not make the client the limit; they outlive a load."""

from __future__ import annotations

import multiprocessing
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
    """Processes of clients of one target; a context manager.

    Args:
        target: What they call.
        processes: How many processes share the clients.
        meter: Reads the CPU seconds of the server's processes; None if they cannot be seen.
    """

    def __init__(self, target: Target, processes: int, meter: processor.Meter | None = None) -> None:
        self._target = target
        self._meter = meter or dict
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Pipe] = []
        self._processes: list[SpawnProcess] = []
        for part in range(processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, target, part, processes), daemon=True)
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

    def run(self, load: Load) -> Measurement:
        """Put a load on the target, wait for its last answer, and return what it showed."""
        start = time.monotonic() + LEAD_S
        for pipe in self._pipes:
            pipe.send((load, start))
        time.sleep(max(0.0, start + load.warm_up_s - time.monotonic()))
        before = self._meter()
        time.sleep(max(0.0, start + load.warm_up_s + load.seconds - time.monotonic()))
        cores = processor.cores_between(before, self._meter(), load.seconds)
        counted = [_received(pipe, LATE_S) for pipe in self._pipes]
        return summarise(load, self._target.images, [part for part in counted if part], cores)


def share(clients: int, part: int, parts: int) -> int:
    """Clients of one process, as equal as can be."""
    return clients // parts + (part < clients % parts)


def _serve(pipe: Pipe, target: Target, part: int, parts: int) -> None:
    """Run one process of clients: load after load until the other end closes. Connections are kept."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    connections: list[Connection] = []
    pipe.send(None)
    while True:
        try:
            load, start = pipe.recv()
        except EOFError:
            break
        wanted = share(load.clients, part, parts)
        while len(connections) < wanted:
            connections.append(target.connect())
        pipe.send(run(connections[:wanted], load, start=start, part=part, parts=parts))
    for connection in connections:
        connection.close()


def _received(pipe: Pipe, timeout_s: float) -> Counted | None:
    """What a process sent; a RuntimeError if it does not."""
    try:
        if pipe.poll(timeout_s):
            found: Counted | None = pipe.recv()
            return found
    except EOFError:
        pass
    raise RuntimeError("a process of clients ended, or does not answer; its error is above")
