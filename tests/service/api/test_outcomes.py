"""How calls end that raise something: a status with details that leaks nothing, and the count of its code."""

from __future__ import annotations

import asyncio
import errno

import grpc
import pytest
import structlog
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError as RedisOutOfMemoryError

from service.errors import FieldViolation, InvalidArgument, MintageError, NotFound, ResourceExhausted
from tests.support.intercepted import REQUEST, raising, served
from tests.support.world import failure_of, run, until


def test_an_unknown_exception_leaks_nothing_and_is_in_the_log_under_its_id() -> None:
    async def test() -> None:
        async with served(raising(RuntimeError("secret path /etc/token=abc"))) as at:
            with structlog.testing.capture_logs() as logs:
                failure = await failure_of(at.generate(REQUEST))
        assert failure.code is grpc.StatusCode.INTERNAL
        found = [entry for entry in logs if entry["event"] == "internal error"]
        assert failure.message == f"internal error, id={found[0]['error_id']}"
        assert "secret" not in repr(failure)
        assert "secret path" in str(found[0]["exc_info"])
        assert at.counted("INTERNAL") == 1

    run(test())


@pytest.mark.parametrize(
    ("error", "code", "reason", "retry"),
    [
        (NotFound("no such model", reason="MODEL_NOT_FOUND"), "NOT_FOUND", "MODEL_NOT_FOUND", None),
        (ResourceExhausted("full", retry_after_s=2.5), "RESOURCE_EXHAUSTED", "OVERLOADED", 2.5),
        (RedisConnectionError("redis://:secret@host"), "UNAVAILABLE", "JOB_STORE_UNAVAILABLE", 1.0),
        (OSError(errno.ENOSPC, "secret", "/secret"), "RESOURCE_EXHAUSTED", "NO_SPACE", 10.0),
        (RedisOutOfMemoryError("secret"), "RESOURCE_EXHAUSTED", "JOB_STORE_FULL", 10.0),
        (NotImplementedError("secret"), "UNIMPLEMENTED", "UNIMPLEMENTED", None),
    ],
)
def test_an_error_becomes_its_status_with_details(
    error: Exception, code: str, reason: str, retry: float | None
) -> None:
    async def test() -> None:
        async with served(raising(error)) as at:
            failure = await failure_of(at.generate(REQUEST))
        assert (failure.code.name, failure.reason) == (code, reason)
        assert ("RetryInfo" in failure.details) == (retry is not None)
        if retry is not None:
            assert failure.retry_after_s == retry
        assert "secret" not in repr(failure)
        if isinstance(error, MintageError):
            assert failure.message == error.message

    run(test())


def test_a_thousand_wrong_fields_still_fit_in_the_trailers() -> None:
    violations = [
        FieldViolation(f"encoded.files[{i}]", "is no PNG, JPEG, WebP, BMP, GIF, TIFF or PPM file") for i in range(1024)
    ]

    async def test() -> None:
        async with served(raising(InvalidArgument(violations))) as at:
            failure = await failure_of(at.generate(REQUEST))
        assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
        assert failure.fields[:2] == ["encoded.files[0]", "encoded.files[1]"]
        assert len(failure.fields) > 20
        assert "more fields are wrong" in str(failure.details["BadRequest"])

    run(test())


def test_a_time_out_within_is_not_taken_for_the_deadline() -> None:
    async def test() -> None:
        async with served(raising(TimeoutError("of something else"))) as at:
            failure = await failure_of(at.generate(REQUEST))
        assert failure.code is grpc.StatusCode.INTERNAL

    run(test())


def test_the_clients_cancel_and_deadline_end_the_work_and_are_counted_as_what_they_are() -> None:
    async def test() -> None:
        async with served(asyncio.Event().wait) as at:
            call = at.generate(REQUEST)
            await until(lambda: at.in_flight() == 1)
            call.cancel()
            await until(lambda: at.counted("CANCELLED") == 1)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await at.generate(REQUEST, timeout=1)
            assert error.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await until(lambda: at.counted("DEADLINE_EXCEEDED") == 1)
            assert at.in_flight() == 0
            assert at.counted("UNKNOWN") == 0

    run(test())


def test_a_cancel_of_something_inside_is_no_silence() -> None:
    async def test() -> None:
        async with served(raising(asyncio.CancelledError())) as at:
            failure = await failure_of(at.generate(REQUEST, timeout=60))
        assert failure.code is grpc.StatusCode.UNAVAILABLE

    run(test())
