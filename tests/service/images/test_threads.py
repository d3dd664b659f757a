"""Encoding in threads: the files of one call are as if it were alone, and no call stands before another for long."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from service.images import encode
from service.images.threads import PIECE_BYTES, AbandonedError, EncodingThreads, check, in_thread

PIECE = np.zeros((1, PIECE_BYTES // 3, 1, 3), np.uint8)  # one image that is a piece by itself


def with_threads(act: Callable[[EncodingThreads], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine function with two threads."""

    async def run() -> None:
        with ThreadPoolExecutor(2) as pool:
            await act(EncodingThreads(pool, 2))

    asyncio.run(run())


@pytest.mark.parametrize("encoding", [encode.PNG, encode.JPEG, encode.RAW])
def test_files_come_in_order_from_any_number_of_pieces(encoding: encode.Encoding) -> None:
    images = np.random.default_rng(0).integers(0, 256, (23, 200, 300, 3), np.uint8)
    assert images.nbytes > 5 * PIECE_BYTES

    async def act(threads: EncodingThreads) -> None:
        encoder = threads.call(encoding)
        first, second = await asyncio.gather(encoder.encode(images[:20]), encoder.encode(images[20:]))
        assert [*first, *second] == list(encoding.encode(images))
        assert await encoder.encode(images[:0]) == []

    with_threads(act)


def test_a_single_image_waits_for_two_pieces_of_a_large_call_at_most() -> None:
    begun, free = list[int](), threading.Semaphore(0)

    def slow(images: np.ndarray[Any, Any]) -> list[bytes]:
        begun.append(int(images.flat[0]))
        free.acquire()
        return [b""] * len(images)

    encoding = encode.Encoding(slow, lambda *_: 0)

    async def act(threads: EncodingThreads) -> None:
        large, single = threads.call(encoding), threads.call(encoding)
        parts = [asyncio.create_task(large.encode(np.repeat(PIECE, 10, axis=0))) for _ in range(3)]
        while len(begun) < 2:
            await asyncio.sleep(0.001)
        last = asyncio.create_task(single.encode(PIECE + np.uint8(1)))
        for _ in range(5):
            await asyncio.sleep(0)  # until it waits
        free.release(30 + 1)
        await asyncio.gather(last, *parts)
        assert 1 in begun[:4] and len(begun) == 31

    with_threads(act)


def test_what_nobody_waits_for_any_more_is_not_encoded() -> None:
    begun, free = list[int](), threading.Semaphore(0)

    def slow(images: np.ndarray[Any, Any]) -> list[bytes]:
        begun.append(len(images))
        free.acquire()
        return [b""]

    async def act(threads: EncodingThreads) -> None:
        task = asyncio.create_task(
            threads.call(encode.Encoding(slow, lambda *_: 0)).encode(np.repeat(PIECE, 10, axis=0))
        )
        while len(begun) < 2:
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        free.release(10)
        assert await threads.call(encode.PNG).encode(PIECE) == encode.PNG.encode(PIECE)
        assert len(begun) == 2

    with_threads(act)


def test_work_in_a_thread_ends_when_nobody_waits_for_it_any_more() -> None:
    began, ended = threading.Event(), threading.Event()

    def work() -> None:
        began.set()
        try:
            while True:
                check()
        except AbandonedError:
            ended.set()
            raise

    async def act(threads: EncodingThreads) -> None:
        waiting = asyncio.ensure_future(in_thread(threads.pool, work))
        await asyncio.to_thread(began.wait, 60)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await asyncio.to_thread(ended.wait, 60)
        await in_thread(threads.pool, check)  # somebody waits

    with_threads(act)
