"""Answers calls that come in frames over a unix socket: the worker's half of what `service.backend.channel` calls."""

from __future__ import annotations

import asyncio
import functools
import json
import logging
import math
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from handlers.serving.frames import ANSWER, CALL, CALL_HEAD, CANCEL, ERROR, Frames

LOG = logging.getLogger("mintage.handlers")


class CallError(Exception):
    """Raised by a method to end its call with the name of a gRPC code, a text and metadata."""

    def __init__(self, code: str, message: str, metadata: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.metadata = dict(metadata or {})


@dataclass(frozen=True, slots=True)
class Call:
    """What comes with a message: metadata, and when the caller stops waiting, on the monotonic clock."""

    metadata: Mapping[str, str]
    deadline: float = math.inf


Method = Callable[[bytes, Call], Awaitable[bytes]]  # a future costs less than a coroutine, which becomes a task


class _Caller(Frames):
    """One connection: a future per call."""

    def __init__(self, methods: Mapping[str, Method], max_bytes: int, callers: set[_Caller]) -> None:
        super().__init__(max_bytes)
        self._methods = methods
        self._limit = max_bytes
        self._callers = callers
        self._calls: dict[int, asyncio.Future[bytes]] = {}
        callers.add(self)

    def received(self, number: int, kind: int, payload: bytes) -> None:
        """Begin or end a call."""
        if kind == CALL:
            try:
                answer = asyncio.ensure_future(self._called(payload))
            except Exception as error:
                self._fail(number, error)
                return
            self._calls[number] = answer
            answer.add_done_callback(functools.partial(self._ended, number))
        elif kind == CANCEL and number in self._calls:
            self._calls[number].cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all calls: nobody waits for them any more."""
        self._callers.discard(self)
        for answer in list(self._calls.values()):
            answer.cancel()

    def abort(self) -> None:
        """Break the connection."""
        self._transport.abort()

    def _called(self, payload: bytes) -> Awaitable[bytes]:
        timeout_s, size = CALL_HEAD.unpack_from(payload)
        end = CALL_HEAD.size + size
        name, metadata = _named(payload[CALL_HEAD.size : end])
        method = self._methods.get(name)
        if method is None:
            raise CallError("UNIMPLEMENTED", f"there is no method {name!r}")
        return method(payload[end:], Call(metadata, time.monotonic() + timeout_s))

    def _ended(self, number: int, answer: asyncio.Future[bytes]) -> None:
        del self._calls[number]
        if answer.cancelled():
            return
        error = answer.exception()
        if error is not None:
            self._fail(number, error)
        elif len(answer.result()) > self._limit:
            self._fail(number, CallError("RESOURCE_EXHAUSTED", "the answer is larger than a message may be"))
        else:
            self.send(number, ANSWER, answer.result())

    def _fail(self, number: int, error: BaseException) -> None:
        """Say how a call failed; what was not foreseen is logged, and only that it failed is said."""
        if not isinstance(error, CallError):
            LOG.error("a call failed", exc_info=error)
            error = CallError("UNKNOWN", "the call failed; the log says why")
        self.send(number, ERROR, json.dumps([error.code, str(error), error.metadata]).encode())


@functools.lru_cache(maxsize=256)
def _named(text: bytes) -> tuple[str, Mapping[str, str]]:
    """Read the method and the metadata of a call: a caller's are the same each time."""
    name, metadata = json.loads(text)
    return name, metadata


class Listener:
    """Answers calls on a socket; made by `listen`."""

    def __init__(self, server: asyncio.Server, callers: set[_Caller]) -> None:
        self._server = server
        self._callers = callers

    def close(self) -> None:
        """Stop listening and break all connections."""
        self._server.close()
        for caller in list(self._callers):
            caller.abort()


async def listen(path: Path, methods: Mapping[str, Method], *, max_message_bytes: int) -> Listener:
    """Answer calls of these methods on a new unix socket.

    Raises:
        OSError: if the socket cannot be made.
    """
    callers: set[_Caller] = set()
    loop = asyncio.get_running_loop()
    server = await loop.create_unix_server(lambda: _Caller(methods, max_message_bytes, callers), path)
    return Listener(server, callers)
