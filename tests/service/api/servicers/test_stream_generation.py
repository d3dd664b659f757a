"""StreamGenerate: the images of Generate in parts, no more of them than are taken, and the same errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from mintage.v1 import generation_pb2, generation_pb2_grpc

from service.api.servicers.generation import LAST_INDEX, parts
from service.errors import ResourceExhausted
from tests.service.api.servicers.test_generation import BAD, NAMES
from tests.support.formula import GENERATOR, pixels, record_of
from tests.support.model_server import FakeModelServer
from tests.support.world import World, failure_of, run, until, world

RAW, PNG = generation_pb2.IMAGE_FORMAT_RAW, generation_pb2.IMAGE_FORMAT_PNG
Request = generation_pb2.StreamGenerateRequest


@contextlib.asynccontextmanager
async def service_at(folder: Path, **options: Any) -> AsyncIterator[tuple[World, Any]]:
    """A world and its GenerationService."""
    async with (
        world(folder, **options) as at,
        grpc.aio.insecure_channel(at.address, options=[("grpc.max_receive_message_length", -1)]) as channel,
    ):
        yield at, generation_pb2_grpc.GenerationServiceStub(channel)


def request(**fields: Any) -> Request:
    return Request(**{"model": "models/digits", "count": 1, "format": RAW, **fields})


def large(models: FakeModelServer) -> None:
    """Give models images of 48 KiB, which soon fill the transport."""
    models.image_size = (128, 128, 3)


def huge(models: FakeModelServer) -> None:
    """Give models images of 192 KiB."""
    models.image_size = (256, 256, 3)


def computed(at: World) -> int:
    """How many images the model was asked for."""
    return sum(call["count"] for call in at.models.operations("generate"))


@pytest.mark.parametrize("form", [RAW, PNG])
@pytest.mark.parametrize(("first_index", "count"), [(0, 1), (3, 300), (64, 64), (LAST_INDEX - 130, 130)])
def test_the_images_are_those_of_generate(tmp_path: Path, form: int, first_index: int, count: int) -> None:
    async def test() -> None:
        async with service_at(tmp_path) as (_, stub):
            asked: dict[str, Any] = {"seed": 7, "first_index": first_index, "count": count, "format": form}
            answers = [part async for part in stub.StreamGenerate(request(**asked))]
            whole = await stub.Generate(generation_pb2.GenerateRequest(model="models/digits", **asked))
        assert [image for part in answers for image in part.images] == list(whole.images)
        after = first_index
        for part in answers:
            assert part.first_index == after and part.images
            after += len(part.images)
            same = "model", "model_digest", "shape", "format", "device_class"
            assert [getattr(part, name) for name in same] == [getattr(whole, name) for name in same]

    run(test())


@pytest.mark.parametrize("micro_batch", [1, 24, 64, 100, 1024])
@pytest.mark.parametrize("largest", [1, 50, 10_000])
def test_parts_cover_every_image_once_and_hold_whole_micro_batches(micro_batch: int, largest: int) -> None:
    record = replace(record_of(GENERATOR, "digits"), micro_batch=micro_batch, batch_sizes=())
    cuts = list(parts(record, 37, 3000, largest))
    assert [index for part in cuts for index in part] == list(range(37, 3037))
    assert max(map(len, cuts)) <= largest
    if largest >= 1024:
        assert all(part.start % micro_batch == 0 for part in cuts[1:])
    free = replace(record, batch_sizes=(1, micro_batch))
    assert max(map(len, parts(free, 37, 3000, largest))) == min(64, largest)


def test_a_caller_that_leaves_after_the_first_part_has_no_more_computed(tmp_path: Path) -> None:
    async def test() -> None:
        async with service_at(tmp_path, prepare=large) as (at, stub):
            stream = stub.StreamGenerate(request(count=100_000))
            assert len((await stream.read()).images) == 64
            stream.cancel()
            running = {"method": "/mintage.v1.GenerationService/StreamGenerate"}
            count = at.api.metrics.collection.get_sample_value
            await until(lambda: count("mintage_api_calls_in_flight", running) == 0)
            made = computed(at)
            assert made < 1500
            await stub.Generate(generation_pb2.GenerateRequest(model="models/digits", count=1))
            assert computed(at) == made + 1

    run(test())


def test_a_caller_that_does_not_read_is_waited_for(tmp_path: Path) -> None:
    async def test() -> None:
        async with service_at(tmp_path, prepare=large) as (at, stub):
            stream = aiter(stub.StreamGenerate(request(count=3000)))
            await anext(stream)
            before = -1
            while computed(at) != before:  # until it stands still
                before = computed(at)
                await asyncio.sleep(0.5)
            assert before < 1500
            taken = [64] + [len(part.images) async for part in stream]
            assert (sum(taken), computed(at)) == (3000, 3000)

    run(test())


@pytest.mark.parametrize(("wrong", "fields"), [*BAD, *(({"model": name}, ["model"]) for name in NAMES[:3])])
def test_every_wrong_field_is_named_at_once(tmp_path: Path, wrong: dict[str, Any], fields: list[str]) -> None:
    async def test() -> None:
        async with service_at(tmp_path, max_stream_images=1000) as (at, stub):
            failure = await failure_of(stub.StreamGenerate(request(**wrong)).read())
            assert computed(at) == 0
        assert (failure.code, failure.fields) == (grpc.StatusCode.INVALID_ARGUMENT, fields)

    run(test())


def test_an_image_that_no_message_holds_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with service_at(tmp_path, max_message_bytes=2**16, prepare=huge) as (_, stub):
            assert (await failure_of(stub.StreamGenerate(request()).read())).fields == ["format"]

    run(test())


def test_what_cannot_be_asked_of_a_model_is_told_as_by_generate(tmp_path: Path) -> None:
    async def test() -> None:
        async with service_at(tmp_path) as (_, stub):
            unknown = await failure_of(stub.StreamGenerate(request(model="models/nobody")).read())
            kind = await failure_of(stub.StreamGenerate(request(model="models/judge")).read())
        assert (unknown.reason, kind.reason) == ("MODEL_NOT_FOUND", "WRONG_MODEL_KIND")

    run(test())


def test_only_the_first_part_is_refused_and_a_stream_that_was_let_in_waits(tmp_path: Path) -> None:
    async def test() -> None:
        async with service_at(tmp_path, max_calls=1) as (at, stub):
            answers = [part async for part in stub.StreamGenerate(request(count=640))]
            assert sum(len(part.images) for part in answers) == 640
            at.models.failure = ResourceExhausted("full")
            failure = await failure_of(stub.StreamGenerate(request(count=640)).read())
            assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED and failure.retry_after_s > 0

    run(test())


def test_a_part_has_a_time_limit_and_the_stream_has_none_but_the_callers(tmp_path: Path) -> None:
    async def test() -> None:
        async with service_at(tmp_path, max_deadline_s=3.0, prepare=large) as (at, stub):
            stream = aiter(stub.StreamGenerate(request(count=100_000)))
            await anext(stream)
            await asyncio.sleep(3.1)
            assert (await anext(stream)).first_index == 64
            at.models.answers.clear()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in stream:
                    pass
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            at.models.answers.set()

    run(test())


def test_a_server_that_shuts_down_ends_a_stream_as_unavailable(tmp_path: Path) -> None:
    async def test() -> None:
        async with service_at(tmp_path) as (at, stub):
            stream = aiter(stub.StreamGenerate(request(count=100_000)))
            await anext(stream)
            at.models.answers.clear()
            drained = asyncio.create_task(at.api.drain(5))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in stream:
                    pass
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            at.models.answers.set()
            await drained

    run(test())


def test_streams_and_single_calls_of_many_callers_are_all_answered(tmp_path: Path) -> None:
    async def test() -> None:
        async with service_at(tmp_path) as (_, stub):

            async def streamed(seed: int) -> list[bytes]:
                answers = [part async for part in stub.StreamGenerate(request(seed=seed, count=150))]
                return [image for part in answers for image in part.images]

            async def single(seed: int) -> bytes:
                asked = generation_pb2.GenerateRequest(model="models/digits", seed=seed, count=1, format=RAW)
                return bytes((await stub.Generate(asked)).images[0])

            seeds = range(8)
            many = await asyncio.gather(*map(streamed, seeds))
            ones = await asyncio.gather(*map(single, seeds))
        assert [images[0] for images in many] == ones
        assert many[3] == [pixels(3, index).tobytes() for index in range(150)]

    run(test())
