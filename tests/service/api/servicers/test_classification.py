"""Classify: encoded and raw images, and every wrong one named by its position."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from mintage.v1 import classification_pb2, classification_pb2_grpc
from PIL import Image

from tests.support.liars import png_that_says
from tests.support.model_server import FakeModelServer
from tests.support.world import World, failure_of, run, until, world

HEIGHT, WIDTH = 8, 6
Request = classification_pb2.ClassifyRequest
Raw = classification_pb2.RawImages
Encoded = classification_pb2.EncodedImages


@contextlib.asynccontextmanager
async def classify_at(folder: Path, **options: Any) -> AsyncIterator[tuple[World, Any]]:
    async with world(folder, **options) as at, grpc.aio.insecure_channel(at.address) as channel:
        yield at, classification_pb2_grpc.ClassificationServiceStub(channel).Classify


def png(level: int, *, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    file = io.BytesIO()
    Image.new("L", size, level).save(file, "PNG")
    return file.getvalue()


def encoded(*files: bytes, model: str = "models/judge") -> classification_pb2.ClassifyRequest:
    return Request(model=model, encoded=Encoded(files=files))


def raw(**fields: Any) -> classification_pb2.ClassifyRequest:
    block = {"count": 1, "height": HEIGHT, "width": WIDTH, "channels": 1, "pixels": bytes(HEIGHT * WIDTH), **fields}
    return Request(model="models/judge", raw=Raw(**block))


def test_encoded_and_raw_images_give_the_same_answer(tmp_path: Path) -> None:
    levels = [0, 100, 255]
    pixels = b"".join(bytes([level]) * HEIGHT * WIDTH for level in levels)

    async def test() -> None:
        async with classify_at(tmp_path) as (_, classify):
            from_files = await classify(encoded(*map(png, levels)))
            from_block = await classify(raw(count=3, pixels=pixels))
        assert from_files == from_block
        assert list(from_files.classes) == ["nought", "one", "two"]
        assert [each.best_class for each in from_files.classifications] == [0, 1, 2]
        assert [list(each.probabilities) for each in from_files.classifications] == np.eye(3).tolist()
        assert [each.generated_probability for each in from_files.classifications] == pytest.approx([0, 100 / 255, 1])
        assert (from_files.model, len(from_files.model_digest)) == ("models/judge", 64)

    run(test())


def test_a_large_request_is_cut_and_its_order_kept(tmp_path: Path) -> None:
    levels = (np.arange(1000) % 256).astype(np.uint8)
    pixels = np.repeat(levels, HEIGHT * WIDTH).tobytes()

    async def test() -> None:
        async with classify_at(tmp_path) as (at, classify):
            answer = await classify(raw(count=1000, pixels=pixels))
            assert [call["shape"][0] for call in at.models.operations("classify")] == [256, 256, 256, 232]
        found = [each.generated_probability for each in answer.classifications]
        assert found == pytest.approx((levels / 255).tolist())

    run(test())


BAD: dict[str, tuple[Any, list[str]]] = {
    "no images": (Request(model="models/judge"), ["images"]),
    "no files": (encoded(), ["encoded.files"]),
    "too many files": (encoded(*[b""] * 1025), ["encoded.files"]),
    "no model and no images": (Request(), ["model", "images"]),
    "a text file": (encoded(png(1), b"hello"), ["encoded.files[1]"]),
    "a bomb": (encoded(png_that_says(30_000, 30_000)), ["encoded.files[0]"]),
    "several": (encoded(b"", png(1), png(1)[:40], png(1, size=(9, 9))), [f"encoded.files[{i}]" for i in (0, 2, 3)]),
    "count of none": (raw(count=0, pixels=b""), ["raw.count"]),
    "too many": (raw(count=1025, pixels=bytes(1025 * HEIGHT * WIDTH)), ["raw.count"]),
    "negative": (raw(count=-1, height=-8, width=0), ["raw.count", "raw.height", "raw.width"]),
    "too few bytes": (raw(pixels=b"x"), ["raw.pixels"]),
    "one byte too many": (raw(pixels=bytes(HEIGHT * WIDTH + 1)), ["raw.pixels"]),
    "overflow": (raw(count=1024, height=2**31 - 1, width=2**31 - 1, channels=2**31 - 1), ["raw.pixels"]),
    "another size": (
        raw(height=4, width=12, channels=1, pixels=bytes(48)),
        ["raw.height", "raw.width"],
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_named_and_never_reaches_the_model(tmp_path: Path, case: str) -> None:
    request, fields = BAD[case]

    async def test() -> None:
        async with classify_at(tmp_path) as (at, classify):
            failure = await failure_of(classify(request))
            assert at.models.operations("classify") == []
        assert (failure.code, failure.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELDS")
        assert failure.fields == fields

    run(test())


def test_an_unknown_model_and_a_wrong_kind(tmp_path: Path) -> None:
    async def test() -> None:
        async with classify_at(tmp_path) as (_, classify):
            unknown = await failure_of(classify(encoded(png(1), model="models/nobody")))
            assert unknown.code is grpc.StatusCode.NOT_FOUND
            kind = await failure_of(classify(encoded(png(1), model="models/digits")))
            assert (kind.code, kind.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "WRONG_MODEL_KIND")

    run(test())


def test_large_requests_are_bounded_by_their_bytes(tmp_path: Path) -> None:
    block = raw(count=1000, pixels=bytes(1000 * HEIGHT * WIDTH))  # 48 kB of 4 messages of 64 KiB

    async def test() -> None:
        async with classify_at(tmp_path, max_message_bytes=2**16) as (at, classify):
            at.models.answers.clear()
            admission = at.api.admissions.of(at.api.registry.find("judge").backend_name)
            calls = [asyncio.ensure_future(classify(block)) for _ in range(5)]
            await until(lambda: admission.calls == 5)
            refused = await failure_of(classify(block))
            assert refused.code is grpc.StatusCode.RESOURCE_EXHAUSTED
            at.models.answers.set()
            assert {len((await call).classifications) for call in calls} == {1000}

    run(test())


def test_a_model_of_two_channels_takes_raw_images_only(tmp_path: Path) -> None:
    def strange(models: FakeModelServer) -> None:
        models.image_size = (8, 6, 2)

    async def test() -> None:
        async with classify_at(tmp_path, prepare=strange) as (_, classify):
            assert len((await classify(raw(channels=2, pixels=bytes(96)))).classifications) == 1
            failure = await failure_of(classify(encoded(png(1))))
            assert failure.fields == ["encoded"]

    run(test())
