"""A stream of images: the same as in one answer, resumed where it broke, and never from another model."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from mintage.client import AsyncClient, Client
from mintage.errors import InputError, InvalidRequest, NotPossible, Unavailable
from mintage.retries import Retries
from mintage.v1 import generation_pb2

from tests.client.fakes import Script, Step, world_in_a_thread
from tests.support.world import run, world

QUICK = Retries(attempts=3, first_pause_s=0.01, max_pause_s=0.02, restart_attempts=3)


def images(*sizes: int, breaks: bool = False, digest: str = "a" * 64) -> Step:
    """Send parts of these sizes, of images of one pixel that shows its index; then perhaps fail."""

    def step(
        request: generation_pb2.StreamGenerateRequest, context: grpc.ServicerContext
    ) -> Iterator[generation_pb2.StreamGenerateResponse]:
        index = request.first_index
        for size in sizes:
            yield generation_pb2.StreamGenerateResponse(
                model=request.model,
                model_digest=digest,
                shape=generation_pb2.ImageShape(height=1, width=1, channels=1),
                first_index=index,
                images=[bytes([each]) for each in range(index, index + size)],
            )
            index += size
        if breaks:
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarts")

    return step


@pytest.fixture
def script() -> Iterator[Script]:
    with Script().served() as served:
        yield served


def test_parts_are_the_images_of_generate(tmp_path: Path) -> None:
    with world_in_a_thread(tmp_path) as at, Client(at.address) as client:
        parts = list(client.stream_generate("digits", 200, seed=7, first_index=3))
        assert len(parts) > 2 and parts[0].flags.writeable
        assert (np.concatenate(parts) == client.generate("digits", 200, seed=7, first_index=3)).all()
        files = [file for part in client.stream_generate_png("models/digits", 5) for file in part]
        assert [file[:4] for file in files] == [b"\x89PNG"] * 5
        with pytest.raises(InvalidRequest):
            list(client.stream_generate("digits", 0))
        with pytest.raises(InputError):
            client.stream_generate("digits", 2**40)


def test_the_asynchronous_client_does_the_same(tmp_path: Path) -> None:
    async def test() -> None:
        async with world(tmp_path) as at, AsyncClient(at.address) as client:
            parts = [part async for part in client.stream_generate("digits", 200, seed=7)]
            assert (np.concatenate(parts) == await client.generate("digits", 200, seed=7)).all()
            files = [file async for part in client.stream_generate_png("digits", 3) for file in part]
            assert len(files) == 3

    run(test())


def test_a_stream_goes_on_at_the_next_image_when_the_server_is_back(script: Script) -> None:
    script.then(images(3, 2, breaks=True), images(breaks=True), images(4, breaks=True), images(1))
    with Client(script.address, retries=QUICK) as client:
        parts = list(client.stream_generate("m", 10, seed=9, first_index=100))
    assert np.concatenate(parts).ravel().tolist() == list(range(100, 110))
    asked = [(each.first_index, each.count, each.seed) for each in script.requests]
    assert asked == [(100, 10, 9), (105, 5, 9), (105, 5, 9), (109, 1, 9)]


def test_an_asynchronous_stream_goes_on_too_and_gives_up_when_the_server_stays_away(script: Script) -> None:
    script.then(images(3, breaks=True), images(2), *itertools.repeat(images(breaks=True), 3))

    async def test() -> None:
        async with AsyncClient(script.address, retries=QUICK) as client:
            parts = [part async for part in client.stream_generate("m", 5)]
            assert np.concatenate(parts).ravel().tolist() == list(range(5))
            with pytest.raises(Unavailable):
                _ = [part async for part in client.stream_generate("m", 5)]

    run(test())


def test_images_of_another_archive_do_not_join_a_stream(script: Script) -> None:
    script.then(images(3, breaks=True), images(2, digest="b" * 64))
    with Client(script.address, retries=QUICK) as client, pytest.raises(NotPossible, match="was replaced"):
        list(client.stream_generate("m", 5))


def test_a_stream_that_is_left_is_cancelled(script: Script) -> None:
    left = threading.Event()

    def endless(request: Any, context: grpc.ServicerContext) -> Iterator[generation_pb2.StreamGenerateResponse]:
        context.add_callback(left.set)
        while context.is_active():
            yield from images(1)(request, context)

    script.then(endless)
    with Client(script.address) as client:
        stream: Any = client.stream_generate("m", 1000)
        next(stream)
        stream.close()
        assert left.wait(60)
