"""Calls over a unix socket, in frames; the caller's half. `handlers.serving.frames` is the worker's, and says why."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import socket
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import grpc

HEAD, LENGTH = struct.Struct("<IQB"), struct.Struct("<I")
CALL, CANCEL, ANSWER, ERROR = range(4)
HEADER_BYTES = 2**16  # ample for what stands in a payload besides the message
_SCRATCH_BYTES = 2**18
_SOCKET_BYTES = 4 * 2**20  # so that an answer of many images is few reads
_SWEEP_S = 0.01  # between two looks for calls whose time is over: a timer of its own would cost each call more


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
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        connection = self._connection
        if connection is None or connection.lost:
            connection = await self._connected(timeout_s)
        head = json.dumps([method, timeout_s, metadata or {}]).encode()
        return await connection.call(next(self._numbers), b"".join((LENGTH.pack(len(head)), head, message)), deadline)

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


class _Connection(asyncio.BufferedProtocol):
    """One connection; small frames are read many at a time, a large payload straight into its own memory."""

    def __init__(self, max_bytes: int) -> None:
        self.lost = False
        self._max_bytes = max_bytes + HEADER_BYTES
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        self._deadlines: dict[int, float] = {}  # of calls that have one
        self._sweeping = False
        self._leaving: list[bytes] = []  # at the end of this turn of the loop
        self._scratch = bytearray(_SCRATCH_BYTES)
        self._held = 0  # bytes of the scratch that are not read yet
        self._large: bytearray | None = None
        self._filled = 0
        self._large_call = (0, 0)

    async def call(self, number: int, payload: bytes, deadline: float) -> bytes:
        """Send a call and wait for what it ends with, until a moment of the monotonic clock."""
        ended: asyncio.Future[bytes] = self._loop.create_future()
        self._calls[number] = ended
        if deadline < math.inf:
            self._deadlines[number] = deadline
            if not self._sweeping:
                self._sweep()
        self._send(number, CALL, payload)
        try:
            return await ended
        except asyncio.CancelledError:
            self._send(number, CANCEL, b"")
            raise
        finally:
            del self._calls[number]
            self._deadlines.pop(number, None)

    def _sweep(self) -> None:
        """End the calls whose time is over, and look again soon while any may come to that."""
        now = time.monotonic()
        for number in [number for number, deadline in self._deadlines.items() if deadline <= now]:
            del self._deadlines[number]
            if not self._calls[number].done():
                self._calls[number].set_exception(_late())
                self._send(number, CANCEL, b"")
        self._sweeping = bool(self._deadlines)
        if self._sweeping:
            self._loop.call_later(_SWEEP_S, self._sweep)

    def close(self) -> None:
        """Close it."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and make the kernel's buffers large."""
        self._transport = cast(asyncio.Transport, transport)
        connected = transport.get_extra_info("socket")
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connected.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the calls that are under way."""
        self.lost = True
        for ended in self._calls.values():
            if not ended.done():
                ended.set_exception(CallFailedError(grpc.StatusCode.UNAVAILABLE, "the connection broke"))

    def get_buffer(self, sizehint: int) -> memoryview:
        """Return where the next bytes go."""
        if self._large is not None:
            return memoryview(self._large)[self._filled :]
        return memoryview(self._scratch)[self._held :]

    def buffer_updated(self, nbytes: int) -> None:
        """Read the frames that are complete."""
        if self._large is None:
            self._held += nbytes
            self._read_scratch()
            return
        self._filled += nbytes
        if self._filled == len(self._large):
            payload, self._large = bytes(self._large), None
            self._received(*self._large_call, payload)

    def _read_scratch(self) -> None:
        at = 0
        while self._held - at >= HEAD.size:
            size, number, kind = HEAD.unpack_from(self._scratch, at)
            start, end = at + HEAD.size, at + HEAD.size + size
            if size > self._max_bytes:
                self._transport.abort()
                return
            if end <= self._held:
                self._received(number, kind, bytes(memoryview(self._scratch)[start:end]))
                at = end
                continue
            if HEAD.size + size > _SCRATCH_BYTES:
                self._large, self._large_call = bytearray(size), (number, kind)
                self._filled = self._held - start
                self._large[: self._filled] = memoryview(self._scratch)[start : self._held]
                at = self._held
            break
        self._scratch[: self._held - at] = self._scratch[at : self._held]
        self._held -= at

    def _received(self, number: int, kind: int, payload: bytes) -> None:
        ended = self._calls.get(number)
        if ended is None or ended.done():  # its caller has left
            return
        if kind == ANSWER:
            ended.set_result(payload)
            return
        code, text, metadata = json.loads(payload)
        ended.set_exception(CallFailedError(grpc.StatusCode[code], text, metadata))

    def _send(self, number: int, kind: int, payload: bytes) -> None:
        """Write one frame, with all others of this turn of the loop, unless the connection is gone."""
        if not self._leaving:
            self._loop.call_soon(self._write)
        self._leaving += (HEAD.pack(len(payload), number, kind), payload)

    def _write(self) -> None:
        leaving, self._leaving = self._leaving, []
        if not self._transport.is_closing():
            self._transport.writelines(leaving)


def _late() -> CallFailedError:
    return CallFailedError(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time")
