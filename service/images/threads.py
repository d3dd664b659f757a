"""Encoding on all cores, fairly among callers.

Images are encoded in pieces of a few milliseconds. One call has at most one piece per core in the queue, which is first
come, first served: so a call with a thousand images uses all cores, and another's single one waits for a few pieces.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import Executor

import numpy as np
from numpy.typing import NDArray

from service.images.encode import Encoding, File

PIECE_BYTES = 384 << 10  # of pixels: 32 images of 64 x 64 in colour, about 2 ms of PNG; smaller ones cost more in all


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
        self._own_turns = asyncio.Semaphore(threads.threads)

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
