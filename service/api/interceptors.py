"""What happens to every call: a request id, bounds, a deadline, the translation of errors, the log, the metrics."""

from __future__ import annotations

import asyncio
import contextlib
import random
import re
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError
from mintage.limits import LOADING_METHODS, LOADING_S, PUSHING_METHODS, PUSHING_S
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError as RedisOutOfMemoryError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.api import bounds
from service.api.call_context import CallContext
from service.api.call_log import CallLog, Tally
from service.api.requests.clients import check_client
from service.api.status import abort
from service.errors import (
    NO_SPACE,
    Cancelled,
    DeadlineExceeded,
    FieldViolation,
    Internal,
    InvalidArgument,
    MintageError,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)
from service.metrics import Metrics
from service.time_limits import TimeLimits

REQUEST_ID_KEY = "x-request-id"
# Calls that gRPC has, but has not handed to us when the server stops, would end as CANCELLED without a word.
QUIET_S, LONGEST_QUIET_S = 0.05, 1.0
CLIENT_IS_EARLY_S = 0.1  # its deadline passes first: ours is counted from the call's arrival, and rounded up by gRPC
_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_ENDS_BY_ITSELF = "/grpc.health.v1.Health/"
_END = object()

_Read = Callable[[Any, Any], Any]  # makes a request of the bytes that came and the call's context

log = structlog.get_logger("mintage.api")


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
        self._arrived = 0.0

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], handler_call_details: Any) -> Any:
        """Wrap the handler of a call; None, if there is no such method, stays None."""
        self._arrived = time.monotonic()
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
        return _method_handler(handler, wrap(method, behaviour, _reader(handler, method)))

    @property
    def open_streams(self) -> int:
        """Streams that wait for their next answer."""
        return len(self._streams)

    def drain(self) -> None:
        """End the streams that are open, and each new one, with UNAVAILABLE: their clients find another server."""
        self._draining = True
        _expire(self._streams)

    async def quiet(self) -> None:
        """Wait until no call has arrived for a moment: then the server may stop without dropping one unseen."""
        begin = self._arrived = time.monotonic()
        while time.monotonic() < min(self._arrived + QUIET_S, begin + LONGEST_QUIET_S):
            await asyncio.sleep(QUIET_S / 5)

    def end(self) -> None:
        """End every call in flight, and each new one, with UNAVAILABLE; left to gRPC, some would see CANCELLED."""
        self._ended = True
        self.drain()
        self._limits.expire()

    def _unary(self, method: str, behaviour: Callable[..., Any], read: _Read) -> Callable[..., Any]:
        longest_s, said = self._max_deadline_s, "the deadline passed"
        if method in PUSHING_METHODS:
            longest_s = max(longest_s, PUSHING_S)
        if method in LOADING_METHODS:
            longest_s = max(longest_s, LOADING_S)
            said += f", of {longest_s:g} s at most; the server goes on, and WatchModel shows the rest"

        tally = Tally(method, self._metrics, self.calls)

        async def call(request: Any, grpc_context: Any) -> Any:
            context = CallContext(grpc_context)
            async with _Observed(tally, context):
                remaining_s = context.time_remaining()
                limit_s = longest_s if remaining_s is None else min(remaining_s, longest_s)
                answer = behaviour(read(request, context), context)
                return await self._within(limit_s, answer, late=DeadlineExceeded(said))

        return call

    def _stream(
        self, method: str, behaviour: Callable[..., Any], read: Callable[[Any, Any], Any]
    ) -> Callable[..., Any]:
        guard = contextlib.nullcontext if method.startswith(_ENDS_BY_ITSELF) else self._until_drained
        tally = Tally(method, self._metrics, self.calls)

        async def call(request: Any, grpc_context: Any) -> None:
            context = CallContext(grpc_context)
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

    async def _within(self, limit_s: float, answer: Awaitable[Any], *, late: MintageError) -> Any:
        """Await an answer; raise `late` after so many seconds, or that the server shuts down if it does so earlier."""
        limit = self._limits.until(0.0 if self._ended else time.monotonic() + limit_s)
        try:
            async with limit:
                return await answer
        except TimeoutError:
            if limit.expired:
                raise (_shutting_down() if self._ended else late) from None
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
        code, failure = (grpc.StatusCode.OK, None) if error is None else _outcome(error, self._context)
        try:
            if failure is not None:
                await abort(self._context, failure, self._trailers)
        finally:
            self._tally.end(code, self._start)


def _outcome(error: BaseException, context: CallContext) -> tuple[grpc.StatusCode, MintageError | None]:
    """How a call ends that raised something, and what to tell its caller; None if that has been done, or cannot be."""
    if isinstance(error, grpc.aio.AbortError):
        return _aborted_code(context), None
    if isinstance(error, asyncio.CancelledError):
        if _is_cancelled_from_outside():
            return _cancelled_code(context), None
        failure: MintageError = _shutting_down()
    elif isinstance(error, Exception):
        failure = translated(error)
    else:
        return grpc.StatusCode.UNKNOWN, None
    return failure.code, failure


def translated(error: Exception) -> MintageError:
    """The error that a caller may see. An unknown exception goes to the log with its traceback, under an id."""
    if isinstance(error, MintageError):
        return error
    if isinstance(error, RedisOutOfMemoryError):
        return ResourceExhausted("the job store is full", reason="JOB_STORE_FULL", retry_after_s=10.0)
    if isinstance(error, RedisConnectionError | RedisTimeoutError):
        return Unavailable("the job store does not answer", reason="JOB_STORE_UNAVAILABLE")
    if isinstance(error, NotImplementedError):  # as the generated servicers raise it
        return Unimplemented("the contract has this method, this server does not")
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        return ResourceExhausted("a disk of the server is full", reason="NO_SPACE", retry_after_s=10.0)
    error_id = secrets.token_hex(8)
    log.error("internal error", error_id=error_id, exc_info=error)
    return Internal(f"internal error, id={error_id}", metadata={"id": error_id})


def _shutting_down() -> Unavailable:
    return Unavailable("the server is shutting down", reason="SHUTTING_DOWN")


def _method_handler(handler: Any, behaviour: Callable[..., Any]) -> Any:
    """As `handler`, but with another behaviour, which parses a single request itself, so that we name its faults."""
    shape = "stream" if handler.request_streaming else "unary", "stream" if handler.response_streaming else "unary"
    make = getattr(grpc, "{}_{}_rpc_method_handler".format(*shape))
    return make(
        behaviour,
        request_deserializer=handler.request_deserializer if handler.request_streaming else None,
        response_serializer=_serializer(handler.response_serializer),
    )


def _serializer(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """As `serialize`, but an answer that is bytes already passes as it is."""
    return lambda answer: answer if isinstance(answer, bytes) else serialize(answer)


def _reader(handler: Any, method: str) -> _Read:
    """A function that makes a request of the bytes that came, within the bounds of its fields."""
    if handler.request_deserializer is None:
        return lambda requests, _: requests
    if handler.request_streaming:
        return _bounded

    def read(raw: bytes, context: Any) -> Any:
        bounds.check_size(method, len(raw))
        check_client(context)
        try:
            request = handler.request_deserializer(raw)
        except DecodeError:
            problem = FieldViolation("", "the request is not a message of this method")
            raise InvalidArgument([problem]) from None
        bounds.check(request)
        return request

    return read


async def _bounded(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
    """Pass the requests of a stream on, each within the bounds of its fields."""
    check_client(context)
    async for request in requests:
        bounds.check(request)
        yield request


@contextlib.asynccontextmanager
async def _unless_over(over: bool, calls: set[asyncio.Timeout]) -> AsyncIterator[None]:
    """Raise that the server shuts down: at once if it is over, else when the limit that is kept in `calls` expires."""
    if over:
        raise _shutting_down()
    limit = asyncio.timeout(None)
    calls.add(limit)
    try:
        async with _expiring(limit, _shutting_down()):
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


def _is_cancelled_from_outside() -> bool:
    """Whether this very call was cancelled, and not something that it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _cancelled_code(context: Any) -> grpc.StatusCode:
    """The client's deadline and its cancel look alike here; the clock tells them apart."""
    remaining_s = context.time_remaining()
    expired = remaining_s is not None and remaining_s <= CLIENT_IS_EARLY_S
    return DeadlineExceeded.code if expired else Cancelled.code


def _aborted_code(context: Any) -> grpc.StatusCode:
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) else next(c for c in grpc.StatusCode if c.value[0] == code)
