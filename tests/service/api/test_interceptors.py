"""What every call gets: an id, a deadline, one log line, metrics, and an end when the server stops."""

import asyncio
import gc
import weakref

import grpc
import pytest
import structlog
from mintage.v1 import jobs_pb2

from service.errors import NotFound
from tests.support.intercepted import METHOD, MODELS, REQUEST, nothing, raising, served
from tests.support.world import failure_of, run, until


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("abc-1.2:3", True),
        ("x" * 128, True),
        ("x" * 129, False),
        ("with space", False),
        ("\x1b[31m", False),
        ("", False),
    ],
)
def test_a_harmless_request_id_is_kept_and_any_other_replaced(given: str, kept: bool) -> None:
    async def test() -> None:
        async with served(nothing) as at:
            with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as logs:
                call = at.generate(REQUEST, metadata=(("x-request-id", given),) if given.isprintable() else ())
                await call
                returned = dict(await call.trailing_metadata())["x-request-id"]
        assert (returned == given) is kept
        assert returned
        assert [(log["event"], log["code"], log["method"], log["request_id"]) for log in logs] == [
            ("call", "OK", METHOD, returned)
        ]
        assert logs[0]["duration_ms"] >= 0

    run(test())


def test_a_call_without_a_deadline_gets_the_longest_one() -> None:
    async def test() -> None:
        async with served(asyncio.Event().wait, max_deadline_s=0.02) as at:
            failure = await failure_of(at.generate(REQUEST))
        assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
        assert failure.reason == "DEADLINE_EXCEEDED"

    run(test())


def test_a_model_may_load_for_longer_than_other_calls_take() -> None:
    async def test() -> None:
        loaded = asyncio.Event()
        async with served(loaded.wait, max_deadline_s=0.02) as at:
            load = at.channel.unary_unary(f"/{MODELS}/LoadModel")(b"")
            failure = await failure_of(at.generate(REQUEST))
            assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
            assert not load.done()
            loaded.set()
            await load

    run(test())


def test_a_stream_gets_the_same_care() -> None:
    async def test() -> None:
        async with served(raising(RuntimeError("secret"))) as at:
            stream = at.watch(jobs_pb2.WatchJobRequest())
            assert (await stream.read()).job.name == "first"
            failure = await failure_of(stream.read())
            assert failure.code is grpc.StatusCode.INTERNAL
            assert "secret" not in repr(failure)
        async with served(nothing) as at:
            names = [answer.job.name async for answer in at.watch(jobs_pb2.WatchJobRequest())]
            assert names == ["first", "second"]

    run(test())


def test_a_thousand_cancelled_streams_leave_nothing_behind() -> None:
    method = "/mintage.v1.JobService/WatchJob"

    async def test() -> None:
        async with served(asyncio.Event().wait) as at:
            for _ in range(10):
                streams = [at.watch(jobs_pb2.WatchJobRequest()) for _ in range(100)]
                await asyncio.gather(*(stream.read() for stream in streams))
                for stream in streams:
                    stream.cancel()
            await until(lambda: at.counted("CANCELLED", method) == 1000)
            assert at.in_flight(method) == 0
            assert at.interceptor.open_streams == 0

    run(test())


def test_draining_ends_open_and_new_streams_and_leaves_single_calls_alone() -> None:
    async def test() -> None:
        async with served(asyncio.Event().wait) as at:
            stream = at.watch(jobs_pb2.WatchJobRequest())
            await stream.read()
            at.interceptor.drain()
            failure = await failure_of(stream.read())
            assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
            assert failure.retry_after_s > 0
            again = await failure_of(at.watch(jobs_pb2.WatchJobRequest()).read())
            assert again.code is grpc.StatusCode.UNAVAILABLE
        async with served(nothing) as at:
            at.interceptor.drain()
            assert (await at.generate(REQUEST)).model == "done"

    run(test())


def test_ending_tells_calls_and_streams_in_flight_and_new_ones_that_the_server_shuts_down() -> None:
    async def test() -> None:
        async with served(asyncio.Event().wait) as at:
            stream = at.watch(jobs_pb2.WatchJobRequest())
            await stream.read()
            calls = [asyncio.ensure_future(failure_of(at.generate(REQUEST))) for _ in range(3)]
            await until(lambda: at.in_flight() == 3)
            at.interceptor.drain()
            at.interceptor.end()
            failures = [await failure_of(stream.read()), *await asyncio.gather(*calls)]
            failures += [await failure_of(at.generate(REQUEST))]
            told = {(failure.code, failure.reason, failure.retry_after_s > 0) for failure in failures}
            assert told == {(grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN", True)}
            await until(lambda: at.in_flight() == 0)

    run(test())


class Held:
    """Something that a call has in its hands, as its request."""


@pytest.mark.parametrize("end", ["refused", "late", "failed"])
def test_what_a_call_held_is_gone_with_it_however_it_ends(end: str) -> None:
    """Rings of objects would stay until Python looks for them; requests may be large."""
    held: list[weakref.ref[Held]] = []

    async def ending() -> None:
        mine = Held()
        held.append(weakref.ref(mine))
        if end == "late":
            await asyncio.Event().wait()
        raise NotFound("nothing of that name") if end == "refused" else ZeroDivisionError

    async def test() -> None:
        async with served(ending, max_deadline_s=0.05) as at:
            for _ in range(2):  # gRPC keeps what belongs to its last event
                await failure_of(at.generate(REQUEST))
            await until(lambda: held[0]() is None)

    gc.collect()
    gc.disable()
    try:
        run(test())
    finally:
        gc.enable()
