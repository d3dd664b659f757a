"""Generate: the same images whatever the request, every wrong field at once, overload and deadlines told rightly."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from mintage.v1 import generation_pb2, generation_pb2_grpc

from service.api.servicers.generation import LAST_INDEX
from service.images import decode
from service.models.asking.calls import spans
from tests.support.formula import GENERATOR, pixels, put, record_of
from tests.support.model_server import FakeModelServer
from tests.support.world import World, failure_of, run, until, world

RAW = generation_pb2.IMAGE_FORMAT_RAW
Request = generation_pb2.GenerateRequest


@contextlib.asynccontextmanager
async def generate_at(folder: Path, **options: Any) -> AsyncIterator[tuple[World, Any]]:
    """A world and its Generate."""
    async with (
        world(folder, **options) as at,
        grpc.aio.insecure_channel(at.address, options=[("grpc.max_receive_message_length", -1)]) as channel,
    ):
        yield at, generation_pb2_grpc.GenerationServiceStub(channel).Generate


def request(**fields: Any) -> Request:
    return Request(**{"model": "models/digits", "count": 1, "format": RAW, **fields})


@pytest.mark.parametrize(
    ("seed", "first_index", "count"),
    [(0, 0, 1), (2**64 - 1, 0, 5), (7, 3, 10), (1, LAST_INDEX - 2, 2), (3, 1, 1024)],
)
def test_the_images_are_those_of_seed_and_index(tmp_path: Path, seed: int, first_index: int, count: int) -> None:
    async def test() -> None:
        async with generate_at(tmp_path) as (_, generate):
            answer = await generate(request(seed=seed, first_index=first_index, count=count))
        assert [np.frombuffer(raw, np.uint8).tolist() for raw in answer.images] == [
            pixels(seed, index).flatten().tolist() for index in range(first_index, first_index + count)
        ]
        assert (answer.model, answer.first_index, answer.device_class) == ("models/digits", first_index, "cpu")
        assert (answer.shape.height, answer.shape.width, answer.shape.channels) == (8, 6, 1)
        assert len(answer.model_digest) == 64

    run(test())


def test_a_large_request_is_cut_on_micro_batches_where_rows_are_not_free(tmp_path: Path) -> None:
    async def test() -> None:
        async with generate_at(tmp_path) as (at, generate):
            await generate(request(first_index=250, count=600))
            cuts = [(call["first_index"], call["count"]) for call in at.models.operations("generate")]
        assert cuts == [(250, 6), (256, 256), (512, 256), (768, 82)]

    run(test())
    free = replace(record_of(GENERATOR, "digits"), batch_sizes=(1, 4))
    assert list(spans(free, 250, 600)) == [(250, 256), (506, 256), (762, 88)]


@pytest.mark.parametrize("micro_batch", [1, 3, 100, 256, 300])
@pytest.mark.parametrize("first_index", [0, 1, 255, 299])
def test_the_cuts_cover_every_image_once(micro_batch: int, first_index: int) -> None:
    record = replace(record_of(GENERATOR, "digits"), micro_batch=micro_batch)
    cuts = list(spans(record, first_index, 700))
    covered = [index for start, size in cuts for index in range(start, start + size)]
    assert covered == list(range(first_index, first_index + 700))
    assert max(size for _, size in cuts) <= 256
    if micro_batch <= 256:
        assert all(start % micro_batch == 0 for start, _ in cuts[1:])


@pytest.mark.parametrize("form", [0, generation_pb2.IMAGE_FORMAT_PNG, generation_pb2.IMAGE_FORMAT_JPEG])
def test_encoded_images_show_the_same(tmp_path: Path, form: int) -> None:
    async def test() -> None:
        async with generate_at(tmp_path) as (_, generate):
            answer = await generate(request(seed=5, count=3, format=form))
        decoded = decode.decode(answer.images, height=8, width=6, channels=1, max_pixels=100, field="")
        expected = np.stack([pixels(5, index) for index in range(3)])
        assert answer.format == (form or generation_pb2.IMAGE_FORMAT_PNG)
        if form == generation_pb2.IMAGE_FORMAT_JPEG:
            assert np.abs(decoded.astype(int) - expected).mean() < 5
        else:
            assert (decoded == expected).all()

    run(test())


BAD: list[tuple[dict[str, Any], list[str]]] = [
    ({"count": 0}, ["count"]),
    ({"count": -1}, ["count"]),
    ({"count": 1025}, ["count"]),
    ({"count": 2**31 - 1}, ["count"]),
    ({"first_index": -1}, ["first_index"]),
    ({"first_index": LAST_INDEX}, ["first_index"]),
    ({"format": 99}, ["format"]),
    ({"format": -5}, ["format"]),
    ({"model": ""}, ["model"]),
    ({"model": "", "count": 0, "first_index": -3, "format": 9}, ["model", "count", "first_index", "format"]),
]
NAMES = [
    "digits",
    "models/",
    "models/../x",
    "models/a/b",
    "models/digits\x00",
    "models/digits\n",
    "\nmodels/digits",
    "models/Digits",
    "models/\uff44igits",
    "models/" + "a" * 64,
    "models/\x1b[31m",
    "jobs/digits",
]


@pytest.mark.parametrize(("wrong", "fields"), [*BAD, *(({"model": name}, ["model"]) for name in NAMES)])
def test_every_wrong_field_is_named_at_once(tmp_path: Path, wrong: dict[str, Any], fields: list[str]) -> None:
    async def test() -> None:
        async with generate_at(tmp_path) as (at, generate):
            failure = await failure_of(generate(request(**wrong)))
            assert at.models.operations("generate") == []
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS")
        assert failure.fields == fields
        assert failure.message.isprintable()

    run(test())


def test_an_unknown_model_a_wrong_kind_and_a_model_that_is_not_ready(tmp_path: Path) -> None:
    async def test() -> None:
        async with generate_at(tmp_path) as (at, generate):
            unknown = await failure_of(generate(request(model="models/nobody")))
            assert (unknown.code, unknown.reason) == (grpc.StatusCode.NOT_FOUND, "MODEL_NOT_FOUND")
            kind = await failure_of(generate(request(model="models/judge")))
            assert (kind.code, kind.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_MODEL_KIND")
            put(at.settings.archives, "later", "broken")
            waiting = await failure_of(generate(request(model="models/later")))
            assert (waiting.code, waiting.reason) == (grpc.StatusCode.UNAVAILABLE, "MODEL_NOT_READY")
            assert waiting.retry_after_s > 0

    run(test())


def test_a_count_whose_answer_is_too_large_says_the_largest_that_fits(tmp_path: Path) -> None:
    async def test() -> None:
        async with generate_at(tmp_path, max_message_bytes=2**16, prepare=large) as (at, generate):
            failure = await failure_of(generate(request(count=20)))
            assert failure.fields == ["count"]
            assert "at most 19 for the answer to fit in one message, not 20" in failure.message
            assert len((await generate(request(count=19))).images) == 19
            png = await failure_of(generate(request(count=19, format=0)))
            assert "at most 18" in png.message
            assert len((await generate(request(count=18, format=0))).images) == 18
            assert at.models.most_running == 1

    def large(models: FakeModelServer) -> None:
        models.image_size = (32, 32, 3)

    run(test())


def test_a_message_over_the_limit_is_refused(tmp_path: Path) -> None:
    async def test() -> None:
        async with generate_at(tmp_path, max_message_bytes=2**16) as (_, generate):
            failure = await failure_of(generate(request(model="x" * 2**16)))
            assert failure.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            failure = await failure_of(generate(request(model="x" * 10**7), compression=grpc.Compression.Gzip))
            assert failure.code is grpc.StatusCode.UNIMPLEMENTED

    run(test())


def test_too_many_calls_are_refused_at_once_and_the_others_answered(tmp_path: Path) -> None:
    async def test() -> None:
        async with generate_at(tmp_path, max_calls=10) as (at, generate):
            at.models.answers.clear()
            accepted = [asyncio.create_task(_code(generate(request(seed=number)))) for number in range(10)]
            admission = at.api.admissions.of(at.api.registry.find("digits").backend_name)
            await until(lambda: admission.calls == 10)
            refused = await asyncio.gather(*(failure_of(generate(request())) for _ in range(30)))
            assert {(f.code, f.reason) for f in refused} == {(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")}
            assert all(failure.retry_after_s > 0 for failure in refused)
            at.models.answers.set()
            assert set(await asyncio.gather(*accepted)) == {grpc.StatusCode.OK}
            await until(lambda: admission.calls == 0)

    run(test())


async def _code(call: Any) -> grpc.StatusCode:
    await call
    return await call.code()


def test_a_model_hears_who_asks(tmp_path: Path) -> None:
    async def test() -> None:
        async with generate_at(tmp_path) as (at, generate):
            at.models.callers.clear()
            await generate(request(), metadata=(("mintage-client", "painter"),))
        assert ("painter", "interactive") in at.models.callers

    run(test())


@pytest.mark.parametrize("leaves", ["cancel", "deadline"])
def test_the_calls_of_a_caller_who_leaves_are_cancelled_at_the_model(tmp_path: Path, leaves: str) -> None:
    async def test() -> None:
        async with generate_at(tmp_path, max_calls=1) as (at, generate):
            at.models.answers.clear()
            admission = at.api.admissions.of(at.api.registry.find("digits").backend_name)
            call = generate(request(count=1024), timeout=2 if leaves == "deadline" else 60)
            await until(lambda: len(at.models.operations("generate")) == 4)
            if leaves == "cancel":
                call.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                failure = await failure_of(call)
                assert failure.code is grpc.StatusCode.DEADLINE_EXCEEDED
            await until(lambda: admission.calls == 0 and at.models.running <= 2)  # two canaries may be there
            at.models.answers.set()
            assert (await generate(request())).images

    run(test())


def test_a_thousand_cancelled_calls_give_every_place_back(tmp_path: Path) -> None:
    async def test() -> None:
        async with generate_at(tmp_path) as (at, generate):
            admission = at.api.admissions.of(at.api.registry.find("digits").backend_name)
            for _ in range(10):
                calls = [generate(request()) for _ in range(100)]
                await asyncio.sleep(0)
                for call in calls:
                    call.cancel()
            await until(lambda: admission.calls == 0)
            assert (await generate(request())).images

    run(test())


def test_a_failure_of_the_model_is_told_without_its_inside(tmp_path: Path) -> None:
    async def test() -> None:
        async with generate_at(tmp_path) as (at, generate):
            at.models.failure = RuntimeError("CUDA error at /secret/path")
            failure = await failure_of(generate(request()))
            assert failure.code is grpc.StatusCode.INTERNAL
            assert "secret" not in repr(failure)

    run(test())


def test_images_of_two_channels_are_raw_only(tmp_path: Path) -> None:
    def strange(models: FakeModelServer) -> None:
        models.image_size = (8, 6, 2)

    async def test() -> None:
        async with generate_at(tmp_path, prepare=strange) as (_, generate):
            assert len((await generate(request())).images[0]) == 8 * 6 * 2
            failure = await failure_of(generate(request(format=generation_pb2.IMAGE_FORMAT_PNG)))
            assert failure.fields == ["format"]

    run(test())
