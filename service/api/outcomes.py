"""How a call ends that raised something: the error that its caller may see, and the code that is counted."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

import grpc
import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError as RedisOutOfMemoryError
from redis.exceptions import TimeoutError as RedisTimeoutError

from service.api.call_context import CallContext
from service.errors import (
    NO_SPACE,
    Cancelled,
    DeadlineExceeded,
    Internal,
    MintageError,
    ResourceExhausted,
    Unavailable,
    Unimplemented,
)

CLIENT_IS_EARLY_S = 0.1  # its deadline passes first: ours is counted from the call's arrival, and rounded up by gRPC

log = structlog.get_logger("mintage.api")


def outcome(error: BaseException, context: CallContext) -> tuple[grpc.StatusCode, MintageError | None]:
    """How a call ends that raised something, and what to tell its caller; None if that has been done, or cannot be."""
    if isinstance(error, grpc.aio.AbortError):
        return _aborted_code(context), None
    if isinstance(error, asyncio.CancelledError):
        if _is_cancelled_from_outside():
            return _cancelled_code(context), None
        failure: MintageError = shutting_down()
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


def shutting_down() -> Unavailable:
    """The error of every call that the server ends because it stops."""
    return Unavailable("the server is shutting down", reason="SHUTTING_DOWN")


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
