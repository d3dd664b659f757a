"""What happens to every call: a request id, bounds, a deadline, the translation of errors, the log, the metrics.

`method_handlers` parses the request, `outcomes` translates what a call raised.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import grpc
import structlog
from mintage.limits import LOADING_METHODS, LOADING_S, PUSHING_METHODS, PUSHING_S

from service.api.call_context import CallContext
from service.api.call_log import CallLog, Tally
from service.api.method_handlers import Read, method_handler, reader
from service.api.outcomes import outcome, shutting_down
from service.api.status import abort
from service.errors import (
    DeadlineExceeded,
    MintageError,
)
from service.metrics import Metrics
from service.time_limits import TimeLimits

REQUEST_ID_KEY = "x-request-id"
# Calls that gRPC has, but has not handed to us when the server stops, would end as CANCELLED without a word.
QUIET_S, QUIET_LOOKS, LONGEST_QUIET_S = 0.05, 5, 2.0
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_ENDS_BY_ITSELF = "/grpc.health.v1.Health/"
_END = object()


class CallInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc] # grpc has no types
    """The one interceptor of the API.

    Args:
        metrics: Where calls are counted.
        max_deadline_s: Longest time of a call with one answer; streams may last.
    """

    def __init__(self, metrics: Metrics, *, max_deadline_s: float) -> None:
        self.calls = CallLog()
        self._metrics = metrics
        self._max_deadline_s = max_deadline_s
        self._handlers: dict[str, Any] = {}  # by method, as they are wrapped at its first call
        self._limits = TimeLimits()
        self._streams: set[asyncio.Timeout] = set()
        self._draining = False
        self._ended = False
        self._looks = 0  # since a call arrived

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Wrap the handler of a call; None, if there is no such method, stays None."""
        self._looks = 0
        method = handler_call_details.method
        if method not in self._handlers:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            self._handlers[method] = self._wrapped(method, handler)
        return self._handlers[method]

    def _wrapped(self, method: str, handler: Any) -> Any:
        wrap = self._stream if handler.response_streaming else self._unary
        behaviour = (
            (handler.stream_stream if handler.request_streaming else handler.unary_stream)
            if handler.response_streaming
            else (handler.stream_unary if handler.request_streaming else handler.unary_unary)
        )
        return method_handler(handler, wrap(method, behaviour, reader(handler, method)))

    @property
    def open_streams(self) -> int:
        """Streams that wait for their next answer."""
        return len(self._streams)

    def drain(self) -> None:
        """End the streams that are open, and each new one, with UNAVAILABLE: their clients find another server."""
        self._draining = True
        _expire(self._streams)

    async def quiet(self) -> None:
        """Wait until no call has arrived for a moment: then the server may stop without dropping one unseen.

        A moment is a number of looks and not only a time, which also passes while this process has no processor.
        """
        latest, self._looks = time.monotonic() + LONGEST_QUIET_S, 0
        while self._looks < QUIET_LOOKS and time.monotonic() < latest:
            await asyncio.sleep(QUIET_S / QUIET_LOOKS)
            self._looks += 1

    def end(self) -> None:
        """End every call in flight, and each new one, with UNAVAILABLE; left to gRPC, some would see CANCELLED."""
        self._ended = True
        self.drain()
        self._limits.expire()

    def _unary(self, method: str, behaviour: Callable[..., Any], read: Read) -> Callable[..., Any]:
        longest_s, said = self._max_deadline_s, "the deadline passed"
        if method in PUSHING_METHODS:
            longest_s = max(longest_s, PUSHING_S)
        if method in LOADING_METHODS:
            longest_s = max(longest_s, LOADING_S)
            said += f", of {longest_s:g} s at most; the server goes on, and WatchModel shows the rest"

        tally = Tally(method, self._metrics, self.calls)

        async def call(request: Any, context: Any) -> Any:
            context = CallContext(context)
            async with _Observed(tally, context):
                remaining_s = context.time_remaining()
                limit_s = longest_s if remaining_s is None else min(remaining_s, longest_s)
                answer = behaviour(read(request, context), context)
                return await self._within(limit_s, answer, late=said)

        return call

    def _stream(
        self, method: str, behaviour: Callable[..., Any], read: Callable[[Any, Any], Any]
    ) -> Callable[..., Any]:
        guard = contextlib.nullcontext if method.startswith(_ENDS_BY_ITSELF) else self._until_drained
        tally = Tally(method, self._metrics, self.calls)

        async def call(request: Any, context: Any) -> None:
            context = CallContext(context)
            async with (
                _Observed(tally, context),
                contextlib.aclosing(behaviour(read(request, context), context)) as answers,
            ):
                while True:
                    async with guard():  # not around `write`, which must not be interrupted
                        answer = await anext(answers, _END)
                    if answer is _END:
                        return
                    await context.write(answer)

        return call

    async def _within(self, limit_s: float, answer: Awaitable[Any], *, late: str) -> Any:
        """Await an answer; say `late` after so many seconds, or that the server shuts down if it does so earlier."""
        limit = self._limits.until(0.0 if self._ended else time.monotonic() + limit_s)
        try:
            async with limit:
                return await answer
        except TimeoutError:
            if limit.expired:
                raise (shutting_down() if self._ended else DeadlineExceeded(late)) from None
            raise

    def _until_drained(self) -> AbstractAsyncContextManager[None]:
        return _unless_over(self._draining, self._streams)


class _Observed:
    """Gives a call its id, turns what it raises into its status, and has its end counted."""

    __slots__ = ("_context", "_start", "_tally", "_trailers")

    def __init__(self, tally: Tally, context: CallContext) -> None:
        self._tally = tally
        self._context = context

    async def __aenter__(self) -> None:
        request_id = _request_id(self._context)
        self._trailers = ((REQUEST_ID_KEY, request_id),)
        structlog.contextvars.bind_contextvars(request_id=request_id)
        self._context.set_trailing_metadata(self._trailers)
        self._start = self._tally.begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        code, failure = (grpc.StatusCode.OK, None) if error is None else outcome(error, self._context)
        try:
            if failure is not None:
                await abort(self._context, failure, self._trailers)
        finally:
            self._tally.end(code, self._start)
            self._context.end()


@contextlib.asynccontextmanager
async def _unless_over(over: bool, calls: set[asyncio.Timeout]) -> AsyncIterator[None]:
    """Raise that the server shuts down: at once if it is over, else when the limit that is kept in `calls` expires."""
    if over:
        raise shutting_down()
    limit = asyncio.timeout(None)
    calls.add(limit)
    try:
        async with _expiring(limit, shutting_down()):
            yield
    finally:
        calls.discard(limit)


def _expire(calls: set[asyncio.Timeout]) -> None:
    for limit in calls:
        if not limit.expired():
            limit.reschedule(asyncio.get_running_loop().time())


@contextlib.asynccontextmanager
async def _expiring(limit: asyncio.Timeout, error: MintageError) -> AsyncIterator[None]:
    """Raise `error` when the limit expires; another TimeoutError from within passes as it is."""
    try:
        async with limit:
            yield
    except TimeoutError:
        if limit.expired():
            raise error from None
        raise


def _request_id(context: Any) -> str:
    """The caller's request id if it is harmless, else a new one."""
    for key, value in context.invocation_metadata():
        if key == REQUEST_ID_KEY and isinstance(value, str) and _SANE_REQUEST_ID.fullmatch(value):
            return value
    return f"{random.getrandbits(64):016x}"  # no secret: needs no system call
