"""Frames on a unix socket, in which calls go between two processes of one machine: read and written.

`handlers.serving.frames` is the same code, and says what a frame is: the service and what runs in a model worker import
nothing of each other, and no package that both may import is about processes. A test holds the two equal.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import cast

HEAD, CALL_HEAD = struct.Struct("<IQB"), struct.Struct("<dI")
CALL, CANCEL, ANSWER, ERROR = range(4)
HEADER_BYTES = 2**16  # ample for what stands in a payload besides the message
_SCRATCH_BYTES = 2**18
_SOCKET_BYTES = 4 * 2**20  # so that an answer of many images is one write, and few reads


class Frames(asyncio.BufferedProtocol):
    """Reads and writes frames; small ones many at a time, a large payload straight into its own memory."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes + HEADER_BYTES
        self._loop = asyncio.get_running_loop()
        self._leaving: list[bytes] = []  # at the end of this turn of the loop
        self._scratch = bytearray(_SCRATCH_BYTES)
        self._held = 0  # bytes of the scratch that are not read yet
        self._large: bytearray | None = None
        self._filled = 0
        self._large_call = (0, 0)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and make the kernel's buffers large."""
        self._transport = cast(asyncio.Transport, transport)
        connected = transport.get_extra_info("socket")
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            connected.setsockopt(socket.SOL_SOCKET, option, _SOCKET_BYTES)

    def received(self, number: int, kind: int, payload: bytes) -> None:
        """Take one frame."""
        raise NotImplementedError

    def send(self, number: int, kind: int, payload: bytes) -> None:
        """Write one frame, with all others of this turn of the loop, unless the connection is gone."""
        if not self._leaving:
            self._loop.call_soon(self._write)
        self._leaving += (HEAD.pack(len(payload), number, kind), payload)

    def _write(self) -> None:
        leaving, self._leaving = self._leaving, []
        if not self._transport.is_closing():
            self._transport.writelines(leaving)

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
            self.received(*self._large_call, payload)

    def _read_scratch(self) -> None:
        at = 0
        while self._held - at >= HEAD.size:
            size, number, kind = HEAD.unpack_from(self._scratch, at)
            start, end = at + HEAD.size, at + HEAD.size + size
            if size > self._max_bytes:
                self._transport.abort()
                return
            if end <= self._held:
                self.received(number, kind, bytes(memoryview(self._scratch)[start:end]))
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
