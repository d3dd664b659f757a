"""Makes calls in frames over a unix socket: the caller's half; `handlers.serving.listener` is the worker's."""

from __future__ import annotations

import asyncio
import functools
import itertools
import json
import math
import time
from collections.abc import Mapping
from pathlib import Path

import grpc

from service.backend.frames import ANSWER, CALL, CALL_HEAD, CANCEL, Frames

_SWEEP_S = 0.01  # between two looks for calls whose time is over, at least; a timer each would cost calls more


class CallFailedError(Exception):
    """Raised when a call ends without an answer.

    Attributes:
        code: UNAVAILABLE if the process is not there or was lost, DEADLINE_EXCEEDED, or what the process said.
        metadata: What the process said with it.
    """

    def __init__(self, code: grpc.StatusCode, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.metadata = dict(metadata or {})


class Channel:
    """Calls to one socket: connects at the first, and again when the connection broke.

    Args:
        path: The socket.
        max_message_bytes: Most bytes of one message, either way.
    """

    def __init__(self, path: Path, *, max_message_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_message_bytes
        self._numbers = itertools.count(1)
        self._connection: _Connection | None = None
        self._connecting: asyncio.Task[_Connection] | None = None

    async def call(
        self, method: str, message: bytes, *, timeout_s: float | None = None, metadata: Mapping[str, str] | None = None
    ) -> bytes:
        """Call a method and return its answer; a cancelled call is cancelled there too.

        Raises:
            CallFailedError: if it does not end with an answer.
        """
        if len(message) > self._max_bytes:
            raise CallFailedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "the message is larger than it may be")
        limit_s = math.inf if timeout_s is None else timeout_s
        deadline = time.monotonic() + limit_s
        connection = self._connection
        if connection is None or connection.lost:
            connection = await self._connected(timeout_s)
        named = _named(method, *(metadata or {}).items())
        payload = b"".join((CALL_HEAD.pack(limit_s, len(named)), named, message))
        return await connection.call(next(self._numbers), payload, deadline)

    async def close(self) -> None:
        """Close the connection; calls in flight fail."""
        if self._connecting is not None:
            self._connecting.cancel()
        if self._connection is not None:
            self._connection.close()

    async def _connected(self, timeout_s: float | None) -> _Connection:
        """Return the connection, which one call makes for all that wait."""
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect())
            self._connecting.add_done_callback(lambda _: setattr(self, "_connecting", None))
        try:
            return await asyncio.wait_for(asyncio.shield(self._connecting), timeout_s)
        except TimeoutError:
            raise _late() from None
        except OSError as error:
            raise CallFailedError(grpc.StatusCode.UNAVAILABLE, f"cannot connect: {error}") from None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, self._connection = await loop.create_unix_connection(lambda: _Connection(self._max_bytes), str(self._path))
        return self._connection


class _Connection(Frames):
    """One connection: a future per call."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self.lost = False
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._deadlines: dict[int, float] = {}  # of calls that have one
        self._sweep_at = math.inf
        self._timer: asyncio.TimerHandle | None = None

    async def call(self, number: int, payload: bytes, deadline: float) -> bytes:
        """Send a call and wait for what it ends with, until a moment of the monotonic clock."""
        ended: asyncio.Future[bytes] = self._loop.create_future()
        self._calls[number] = ended
        if deadline < math.inf:
            self._deadlines[number] = deadline
            if deadline < self._sweep_at:
                self._sweep_from(deadline)
        self.send(number, CALL, payload)
        try:
            return await ended
        except asyncio.CancelledError:
            self.send(number, CANCEL, b"")
            raise
        finally:
            del self._calls[number]
            self._deadlines.pop(number, None)

    def _sweep_from(self, deadline: float) -> None:
        """Look for calls whose time is over as soon as that of the first may be."""
        if self._timer is not None:
            self._timer.cancel()
        pause_s = max(deadline - time.monotonic(), _SWEEP_S)
        self._sweep_at = deadline
        self._timer = self._loop.call_later(pause_s, self._sweep)

    def _sweep(self) -> None:
        """End the calls whose time is over, and look again when the next one's may be."""
        now = time.monotonic()
        for number in [number for number, deadline in self._deadlines.items() if deadline <= now]:
            del self._deadlines[number]
            if not self._calls[number].done():
                self._calls[number].set_exception(_late())
                self.send(number, CANCEL, b"")
        self._sweep_at, self._timer = math.inf, None
        if self._deadlines:
            self._sweep_from(min(self._deadlines.values()))

    def close(self) -> None:
        """Close it."""
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the calls that are under way."""
        self.lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._sweep_at, self._timer = math.inf, None
        for ended in self._calls.values():
            if not ended.done():
                ended.set_exception(CallFailedError(grpc.StatusCode.UNAVAILABLE, "the connection broke"))

    def received(self, number: int, kind: int, payload: bytes) -> None:
        """Take what a call ends with."""
        ended = self._calls.get(number)
        if ended is None or ended.done():  # its caller has left
            return
        if kind == ANSWER:
            ended.set_result(payload)
            return
        code, text, metadata = json.loads(payload)
        ended.set_exception(CallFailedError(grpc.StatusCode[code], text, metadata))


@functools.lru_cache(maxsize=256)
def _named(method: str, *metadata: tuple[str, str]) -> bytes:
    """Write the method and the metadata of a call: a caller's are the same each time."""
    return json.dumps([method, dict(metadata)]).encode()


def _late() -> CallFailedError:
    return CallFailedError(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time")
