"""The socket of one worker process: callers reach the queue in front of the network without a hop between.

It listens on `{folder}/{digest of the model's name}.{process id}`, in a thread with an event loop of its own, and
appears when the model is ready. `handlers.serving.listener` has deadlines and cancels; the metadata say whose turn a
call takes.

    Predict   a request as `handlers.protocol.messages` has it -> its answer, both bytes
    State     nothing -> JSON: `calls` that are open, `quiet_s` since the last one, rows that wait, and of the pass that
              is being computed its number `pass`, `pass_s` so far and `usual_s`
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import socket
import threading
import time
from collections import deque
from pathlib import Path

import uvloop

from handlers.errors import RequestError
from handlers.protocol.messages import item_of
from handlers.protocol.requests import Canary, Describe
from handlers.serving.desk import Caller, Desk
from handlers.serving.listener import Call, CallError, listen
from handlers.serving.queue import Entry, QueueFullError

CLASS_KEY, CLIENT_KEY, RETRY_KEY = "mintage-class", "mintage-client", "mintage-retry-after-s"
STARTUP_TIMEOUT_S = 30.0  # to listen, on a machine that has much else to do


class WorkerServer:
    """Serves one model on a unix socket, until the process ends.

    Args:
        desk: Where requests go.
        path: The socket.
        max_message_bytes: Most bytes of one message, either way.
    """

    def __init__(self, desk: Desk, path: Path, *, max_message_bytes: int) -> None:
        self._desk = desk
        self._path = path
        self._max_message_bytes = max_message_bytes
        self._calls = 0
        self._quiet_since = time.monotonic()
        self._ended: deque[tuple[Entry, asyncio.Future[bytes]]] = deque()
        self._ending = threading.Lock()
        self._loop: asyncio.AbstractEventLoop
        self._listening = threading.Event()
        self._stopping: asyncio.Event
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)

    def start(self) -> None:
        """Listen.

        Raises:
            OSError: if the socket cannot be made.
        """
        self._thread.start()
        if not self._listening.wait(STARTUP_TIMEOUT_S):
            raise OSError(f"cannot listen on {self._path}")

    def close(self) -> None:
        """Stop listening, and end what is open."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(STARTUP_TIMEOUT_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        methods = {"Predict": self._predict, "State": self._state}
        listener = await listen(self._path, methods, max_message_bytes=self._max_message_bytes)
        self._listening.set()
        await self._stopping.wait()
        listener.close()
        self._path.unlink(missing_ok=True)

    def _predict(self, message: bytes, call: Call) -> asyncio.Future[bytes]:
        """Answer one request in its client's turn."""
        try:
            request = self._desk.read(item_of(message))
        except RequestError as error:
            raise CallError("INVALID_ARGUMENT", str(error)) from None
        answer: asyncio.Future[bytes] = self._loop.create_future()
        try:
            begun = self._desk.begin(request, _caller(call), lambda entry: self._end(entry, answer))
        except QueueFullError as error:
            advice = {RETRY_KEY: f"{error.retry_after_s:.3f}"}
            raise CallError("RESOURCE_EXHAUSTED", str(error), advice) from None
        if not isinstance(request, Canary | Describe):  # they ask on nobody's behalf whether the model is well
            self._calls += 1
            answer.add_done_callback(self._left)
        if isinstance(begun, bytes):
            answer.set_result(begun)
        else:
            answer.add_done_callback(functools.partial(self._drop_if_cancelled, begun))
        return answer

    def _drop_if_cancelled(self, entry: Entry, answer: asyncio.Future[bytes]) -> None:
        if answer.cancelled():
            self._desk.cancel(entry)

    def _left(self, _: asyncio.Future[bytes]) -> None:
        self._calls -= 1
        self._quiet_since = time.monotonic()

    def _end(self, entry: Entry, answer: asyncio.Future[bytes]) -> None:
        """Have an entry answered, from a thread that computes; a pass that ends many calls wakes the loop once."""
        with self._ending:  # of two threads at once, one must see that it is the first
            self._ended.append((entry, answer))
            first = len(self._ended) == 1
        if first:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        while self._ended:
            entry, answer = self._ended.popleft()
            if answer.done():
                continue
            if entry.outcome == "expired":
                answer.set_exception(CallError("DEADLINE_EXCEEDED", "the deadline passed while the request waited"))
                continue
            try:
                answer.set_result(self._desk.answer(entry))
            except Exception as error:  # of one answer: the others are written all the same
                answer.set_exception(error)

    async def _state(self, _: bytes, __: Call) -> bytes:
        quiet_s = 0.0 if self._calls else time.monotonic() - self._quiet_since
        state = {"calls": self._calls, "quiet_s": quiet_s, "waiting": self._desk.waiting(), **self._desk.progress()}
        return json.dumps(state).encode()


def remove_stale(folder: Path, prefix: str) -> None:
    """Remove the sockets of a model that dead processes have left."""
    for path in folder.glob(f"{prefix}.*"):
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(os.fspath(path))
            except ConnectionRefusedError:
                path.unlink(missing_ok=True)
            except OSError:
                continue


def _caller(call: Call) -> Caller:
    return Caller(call.metadata.get(CLIENT_KEY, ""), call.metadata.get(CLASS_KEY) == "bulk", call.deadline)
