"""Encoding on all cores, fairly among callers, and work in threads that ends when its caller is gone.

Images are encoded in pieces of a few milliseconds. One call has at most one piece per core in the queue, which is first
come, first served: so a call with a thousand images uses all cores, and another's single one waits for a few pieces.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from service.images.encode import Encoding, File

T = TypeVar("T")

PIECE_BYTES = 384 << 10  # of pixels: 32 images of 64 x 64 in colour, about 2 ms of PNG; smaller ones cost more in all

_gone: contextvars.ContextVar[threading.Event | None] = contextvars.ContextVar("gone", default=None)


class AbandonedError(Exception):
    """Raised in a thread for whose work nobody waits any more."""


async def in_thread(pool: Executor, function: Callable[..., T], *arguments: object) -> T:
    """Run a slow function in a thread; if it calls `check` now and then, it ends soon after its caller has gone."""
    gone, context = threading.Event(), contextvars.copy_context()
    context.run(_gone.set, gone)
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, context.run, function, *arguments)
    finally:
        gone.set()


def check() -> None:
    """End what runs by `in_thread` if nobody waits for it any more.

    Raises:
        AbandonedError: then.
    """
    gone = _gone.get()
    if gone is not None and gone.is_set():
        raise AbandonedError


class EncodingThreads:
    """The threads that encode for all calls of a process.

    Args:
        pool: Runs the pieces.
        threads: How many at a time: the number of cores.
    """

    def __init__(self, pool: Executor, threads: int) -> None:
        self.pool, self.threads = pool, threads
        self.turns = asyncio.Semaphore(threads)

    def call(self, encoding: Encoding) -> Encoder:
        """The encoder of one call."""
        return Encoder(self, encoding)


class Encoder:
    """Encodes the images of one call, in any number of parts at a time."""

    def __init__(self, threads: EncodingThreads, encoding: Encoding) -> None:
        self._threads, self._encoding = threads, encoding

    @functools.cached_property
    def _own_turns(self) -> asyncio.Semaphore:
        return asyncio.Semaphore(self._threads.threads)

    async def encode(self, images: NDArray[np.uint8]) -> list[File]:
        """Return the files of images uint8 [N, H, W, C], in order; pieces not yet begun are dropped on a cancel."""
        if not self._encoding.computes:
            return list(self._encoding.encode(images))
        step = max(1, PIECE_BYTES // max(1, images[:1].nbytes))
        pieces = [asyncio.ensure_future(self._piece(images[at : at + step])) for at in range(0, len(images), step)]
        try:
            return [file for files in await asyncio.gather(*pieces) for file in files]
        finally:
            for piece in pieces:
                piece.cancel()

    async def _piece(self, images: NDArray[np.uint8]) -> list[File]:
        async with self._own_turns, self._threads.turns:
            loop = asyncio.get_running_loop()
            return list(await loop.run_in_executor(self._threads.pool, self._encoding.encode, images))
