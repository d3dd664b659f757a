"""Ends worker processes that hang, so that TorchServe starts others.

A process that dies breaks its connections: its calls go elsewhere, and TorchServe starts another one. One that hangs
does neither. So each is asked for its state every second, by its socket and off the thread that computes. It hangs if
it is silent several times in a row, or if one pass lasts far longer than such passes do. Then it is killed, which frees
every caller that waits for it, in whatever process.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import signal
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import structlog

from service.backend.channel import CallFailedError
from service.backend.workers import STATE_TIMEOUT_S, Worker, Workers

MAX_SILENCES = 4  # of a second each; counted rather than timed, so that a pause of this process counts once
LONG_PASS_S, LONG_PASS_TIMES = 8.0, 30.0  # a pass that lasts longer than both, the second in its usual lengths, hangs
_GONE: dict[str, Any] = {"gone": True}
_CREDENTIALS = struct.Struct("3i")  # process id, user, group: what SO_PEERCRED says

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerHealth:
    """How many processes of a model are there, how many said nothing just now, were ended, and hang all the same."""

    present: int = 0
    silent: int = 0  # and are not known to hang yet: ask again soon
    ended: int = 0
    beyond_reach: int = 0  # this process may not end them, for example because they run in another container


async def end_hung(workers: Workers, backend_name: str) -> WorkerHealth:
    """Ask every process of a model for its state, and end those that hang."""
    found = workers.of(backend_name)
    states = await asyncio.gather(*map(_state, found))
    present = [(worker, state) for worker, state in zip(found, states, strict=True) if state != _GONE]
    hung = [worker for worker, state in present if _hangs(worker, state)]
    ended = 0
    for worker in hung:
        log.warning("a model worker hangs", backend=backend_name, socket=worker.path.name, silences=worker.silences)
        ended += await asyncio.to_thread(end_listener, worker.path)
    silent = sum(state is None for worker, state in present if worker not in hung)
    return WorkerHealth(len(present), silent, ended, len(hung) - ended)


async def _state(worker: Worker) -> dict[str, Any] | None:
    """What a process says of itself; None if it is silent."""
    try:
        state: dict[str, Any] = json.loads(await worker.channel.call("State", b"", timeout_s=STATE_TIMEOUT_S))
    except CallFailedError as error:
        return None if error.code is grpc.StatusCode.DEADLINE_EXCEEDED else _GONE
    return state


def _hangs(worker: Worker, state: dict[str, Any] | None) -> bool:
    """Note what a process said, or that it said nothing; calls avoid one that was silent once."""
    if state is None:
        worker.silences, worker.lost = worker.silences + 1, True
        return worker.silences >= MAX_SILENCES
    if worker.silences:
        worker.silences, worker.lost = 0, False
    seconds, usual_s = state.get("pass_s", 0.0), state.get("usual_s", 0.0)
    if seconds < max(LONG_PASS_S, LONG_PASS_TIMES * usual_s):
        worker.long_pass = 0
        return False
    number: float = state["pass"]
    seen_before, worker.long_pass = worker.long_pass == number, number
    return seen_before  # the first time it may just have woken up


def end_listener(path: Path) -> bool:
    """Kill the process that listens on a socket; returns whether it is gone, False if it is out of reach.

    The kernel says which process that is. Its id cannot have passed to another one while a connection to it stands, and
    a handle of the process that was taken meanwhile stays that of this one.
    """
    with socket.socket(socket.AF_UNIX) as connection, contextlib.ExitStack() as handles:
        connection.setblocking(False)
        try:
            connection.connect(os.fspath(path))
            process = os.pidfd_open(_peer(connection))
            handles.callback(os.close, process)
            if not _is_broken(connection):
                signal.pidfd_send_signal(process, signal.SIGKILL)
        except (ConnectionRefusedError, FileNotFoundError, ProcessLookupError):
            return True
        except (OSError, AttributeError):  # not Linux, another user's, or in another container
            return False
    return True


def _peer(connection: socket.socket) -> int:
    """Return the id of the process that listens at the other end; it must not be this one.

    Raises:
        OSError: if it is, or if this container does not see it.
    """
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid: int = _CREDENTIALS.unpack(credentials)[0]
    if pid in (0, os.getpid()):
        raise OSError(f"process {pid} cannot be ended")
    return pid


def _is_broken(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))
