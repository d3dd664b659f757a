"""What every call gets: an id, a translated error that leaks nothing, a deadline, one log line, metrics."""

import asyncio
import contextlib
import errno
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
import pytest
import structlog
from mintage.v1 import generation_pb2, generation_pb2_grpc, jobs_pb2, jobs_pb2_grpc, models_pb2
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import OutOfMemoryError as RedisOutOfMemoryError

from service.api.interceptors import CallInterceptor
from service.errors import FieldViolation, InvalidArgument, MintageError, NotFound, ResourceExhausted
from service.metrics import Metrics
from tests.support.world import failure_of, run, until

JOBS = "mintage.v1.JobService"
MODELS = "mintage.v1.ModelService"
METHOD = "/mintage.v1.GenerationService/Generate"
Behaviour = Callable[[], Awaitable[object]]


class Single(generation_pb2_grpc.GenerationServiceServicer):
    """Does what a test says, then answers."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    async def Generate(self, request: generation_pb2.GenerateRequest, context: Any) -> generation_pb2.GenerateResponse:
        await self._behaviour()
        return generation_pb2.GenerateResponse(model="done")

    async def StreamGenerate(self, request: generation_pb2.StreamGenerateRequest, context: Any) -> AsyncIterator[Any]:
        await self._behaviour()
        yield generation_pb2.StreamGenerateResponse(model="done")


class Stream:
    """Answers, does what a test says, answers again."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    async def watch(self, request: jobs_pb2.WatchJobRequest, context: Any) -> AsyncIterator[jobs_pb2.WatchJobResponse]:
        yield jobs_pb2.WatchJobResponse(job=jobs_pb2.Job(name="first"))
        await self._behaviour()
        yield jobs_pb2.WatchJobResponse(job=jobs_pb2.Job(name="second"))


class Loading:
    """Does what a test says, then answers."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour

    async def load(self, request: models_pb2.LoadModelRequest, context: Any) -> models_pb2.LoadModelResponse:
        await self._behaviour()
        return models_pb2.LoadModelResponse()


class Served:
    """A server with nothing but the interceptor, and a connection to it."""

    def __init__(self, interceptor: CallInterceptor, metrics: Metrics, channel: grpc.aio.Channel) -> None:
        self.interceptor = interceptor
        self.metrics = metrics
        self.channel = channel
        self.generate = generation_pb2_grpc.GenerationServiceStub(channel).Generate
        self.watch = jobs_pb2_grpc.JobServiceStub(channel).WatchJob

    def counted(self, code: str, method: str = METHOD) -> float:
        return (
            self.metrics.collection.get_sample_value("mintage_api_calls_total", {"method": method, "code": code}) or 0
        )

    def in_flight(self, method: str = METHOD) -> float:
        return self.metrics.collection.get_sample_value("mintage_api_calls_in_flight", {"method": method}) or 0


@contextlib.asynccontextmanager
async def served(behaviour: Behaviour, *, max_deadline_s: float = 10.0) -> AsyncIterator[Served]:
    metrics = Metrics()
    interceptor = CallInterceptor(metrics, max_deadline_s=max_deadline_s)
    server = grpc.aio.server(interceptors=[interceptor])
    generation_pb2_grpc.add_GenerationServiceServicer_to_server(Single(behaviour), server)
    watch = grpc.unary_stream_rpc_method_handler(
        Stream(behaviour).watch,
        request_deserializer=jobs_pb2.WatchJobRequest.FromString,
        response_serializer=jobs_pb2.WatchJobResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(JOBS, {"WatchJob": watch}),))
    load = grpc.unary_unary_rpc_method_handler(
        Loading(behaviour).load,
        request_deserializer=models_pb2.LoadModelRequest.FromString,
        response_serializer=models_pb2.LoadModelResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(MODELS, {"LoadModel": load}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Served(interceptor, metrics, channel)
    finally:
        await server.stop(None)


def raising(error: BaseException) -> Behaviour:
    async def behaviour() -> None:
        raise error

    return behaviour


async def nothing() -> None:
    pass


REQUEST = generation_pb2.GenerateRequest()


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


@pytest.mark.parametrize("raw", [b"\xff\xff\xff", b"\x0a\x02\xff\xfe", b"\x0a\x7f"])
def test_bytes_that_are_no_message_are_bad_input(raw: bytes) -> None:
    async def test() -> None:
        async with served(nothing) as at:
            call = at.channel.unary_unary(METHOD)
            failure = await failure_of(call(raw))
        assert failure.code is grpc.StatusCode.INVALID_ARGUMENT
        assert failure.reason == "INVALID_FIELDS"

    run(test())


def test_an_unknown_method_is_unimplemented() -> None:
    async def test() -> None:
        async with served(nothing) as at:
            failure = await failure_of(at.channel.unary_unary("/mintage.v1.GenerationService/Nothing")(b""))
        assert failure.code is grpc.StatusCode.UNIMPLEMENTED

    run(test())


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
