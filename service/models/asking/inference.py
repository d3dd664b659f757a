"""Inference on loaded models: in calls of bounded size, at once, within the caller's deadline."""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Counter

from service.backend.model_server import ModelServer
from service.backend.protocol import messages
from service.errors import InvalidArgument
from service.images.encode import Encoding, File
from service.images.threads import EncodingThreads, in_thread
from service.metrics import Metrics
from service.models.asking.admission import Admissions, Caller
from service.models.asking.calls import latent_spans, spans
from service.models.asking.drawing import DrawnFiles, DrawnLatents, DrawnWalk, placed
from service.models.records import ModelRecord
from service.models.registry import Registry

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class GeneratedFiles:
    """Encoded images in order of their index, and the device class that computed them."""

    files: list[File]
    device_class: str


@dataclass(frozen=True, slots=True)
class ClassProbabilities:
    """Probabilities float32 [N, K], and p(generated) float32 [N] if the model knows it."""

    probabilities: NDArray[np.float32]
    generated: NDArray[np.float32] | None


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """A question about images.

    Attributes:
        operation: Its name in the metrics.
        request: Makes the request about images uint8 [n, H, W, C].
        read: Reads the answer to a request about n images.
        answer_bytes: Bytes of the answer per image, if that may be more than the image's own.
    """

    operation: str
    request: Callable[[NDArray[np.uint8]], dict[str, bytes]]
    read: Callable[[bytes, int], T]
    answer_bytes: int = 0


class ImageGenerator(Protocol):
    """What makes images: `Inference`, or a fake of it."""

    async def generate(
        self,
        record: ModelRecord,
        *,
        seed: int,
        first_index: int,
        count: int,
        encoding: Encoding,
        caller: Caller,
    ) -> GeneratedFiles:
        """Make samples first_index to first_index + count - 1 of (the model's digest, seed)."""

    async def draw(self, record: ModelRecord, drawn: DrawnLatents, *, encoding: Encoding, caller: Caller) -> DrawnFiles:
        """Draw latents."""


class Inference:
    """Every call of the API to a model goes through here.

    Args:
        server: Where the models are.
        registry: Is told of each success.
        admissions: Bounds the calls at each model.
        pool: Threads for encoding and decoding.
        metrics: Where images are counted.
    """

    def __init__(
        self,
        server: ModelServer,
        registry: Registry,
        *,
        admissions: Admissions,
        pool: Executor,
        metrics: Metrics,
    ) -> None:
        self._server = server
        self._registry = registry
        self._admissions = admissions
        self._pool = pool
        self.encoders = EncodingThreads(pool, os.cpu_count() or 1)
        self._metrics = metrics
        self._counters: dict[tuple[str, str], Counter] = {}

    async def generate(
        self,
        record: ModelRecord,
        *,
        seed: int,
        first_index: int,
        count: int,
        encoding: Encoding,
        caller: Caller,
    ) -> GeneratedFiles:
        """Make samples first_index to first_index + count - 1 of (the model's digest, seed)."""
        cuts = spans(record, first_index, count)
        requests = [(messages.generate_request(seed, start, size), size) for start, size in cuts]
        parts = await self._images(
            record,
            requests,
            lambda images, files: GeneratedFiles(files, images.device_class),
            operation="generate",
            encoding=encoding,
            caller=caller,
        )
        return GeneratedFiles([file for part in parts for file in part.files], parts[0].device_class)

    async def draw(
        self, record: ModelRecord, drawn: DrawnLatents | DrawnWalk, *, encoding: Encoding, caller: Caller
    ) -> DrawnFiles:
        """Draw latents."""
        requests = [
            (drawn.request(start, stop), stop - start) for start, stop in latent_spans(record, drawn.part_counts)
        ]
        parts = await self._images(
            record,
            requests,
            lambda images, files: DrawnFiles(files, images.images, images.device_class),
            operation="draw",
            encoding=encoding,
            caller=caller,
            place=drawn.place,
        )
        pixels = [part.pixels for part in parts]
        return DrawnFiles(
            [file for part in parts for file in part.files],
            pixels[0] if len(pixels) == 1 else np.concatenate(pixels),
            parts[0].device_class,
        )

    async def _images(
        self,
        record: ModelRecord,
        requests: Sequence[tuple[dict[str, bytes], int]],
        kept: Callable[[messages.GeneratedImages, list[File]], T],
        *,
        operation: str,
        encoding: Encoding,
        caller: Caller,
        place: Callable[[int], str] = str,
    ) -> list[T]:
        """Make requests for so many images each, all at once, and keep what is wanted of each once it is encoded.

        `place` says where in the caller's request the image of a number is described.
        """
        encoder = self.encoders.call(encoding)

        async def made(request: dict[str, bytes], start: int, count: int) -> T:
            answer = await self._predict(record, request, caller)
            try:
                part = messages.read_images(answer, (count, record.height, record.width, record.channels))
            except InvalidArgument as error:
                raise placed(error, place, start) from None
            return kept(part, await encoder.encode(part.images))

        starts = list(itertools.accumulate((size for _, size in requests), initial=0))

        async def work() -> list[T]:
            return await _together(
                [made(request, start, size) for (request, size), start in zip(requests, starts, strict=False)]
            )

        admission = self._admissions.of(record.backend_name)
        count = sum(size for _, size in requests)
        answer_bytes = count * record.height * record.width * record.channels
        found = await admission.run(work, deadline=caller.deadline, size_bytes=answer_bytes)
        self._count(record, operation, count)
        return found

    async def classify(
        self,
        record: ModelRecord,
        decode: Callable[[], NDArray[np.uint8]],
        *,
        size_bytes: int,
        caller: Caller,
    ) -> ClassProbabilities:
        """Classify the images [N, H, W, C] that `decode` gives, which runs in a thread; size_bytes is the request's."""
        classes = len(record.classes)
        question = Question(
            "classify",
            messages.classify_request,
            lambda answer, count: messages.read_classifications(answer, (count, classes)),
        )
        return _joined(await self.ask(record, question, decode, size_bytes=size_bytes, caller=caller))

    async def ask(
        self,
        record: ModelRecord,
        question: Question[T],
        decode: Callable[[], NDArray[np.uint8]],
        *,
        size_bytes: int,
        caller: Caller,
    ) -> list[T]:
        """Ask about the images [N, H, W, C] that `decode` gives, as `classify` does; returns one answer per call."""

        async def asked(images: NDArray[np.uint8]) -> T:
            return question.read(await self._predict(record, question.request(images), caller), len(images))

        async def work() -> tuple[int, list[T]]:
            images = await self.in_pool(decode)
            cuts = spans(record, 0, len(images), answer_bytes=question.answer_bytes)
            return len(images), await _together([asked(images[start : start + size]) for start, size in cuts])

        admission = self._admissions.of(record.backend_name)
        count, parts = await admission.run(work, deadline=caller.deadline, size_bytes=size_bytes)
        self._count(record, question.operation, count)
        return parts

    async def call(self, record: ModelRecord, request: dict[str, bytes], *, operation: str, caller: Caller) -> bytes:
        """Make one call without images, whose answer counts as one image."""
        admission = self._admissions.of(record.backend_name)
        answer = await admission.run(lambda: self._predict(record, request, caller), deadline=caller.deadline)
        self._count(record, operation, 1)
        return answer

    async def calls(
        self,
        record: ModelRecord,
        requests: Sequence[tuple[dict[str, bytes], int]],
        read: Callable[[bytes, int], T],
        *,
        operation: str,
        images: int,
        caller: Caller,
    ) -> list[T]:
        """Make calls, all at once, each with a number that `read` is given with its answer; they count as images."""

        async def made(request: dict[str, bytes], number: int) -> T:
            return read(await self._predict(record, request, caller), number)

        async def work() -> list[T]:
            return await _together([made(request, number) for request, number in requests])

        found = await self._admissions.of(record.backend_name).run(work, deadline=caller.deadline)
        self._count(record, operation, images)
        return found

    async def in_pool(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a slow function in a thread, as `in_thread` does."""
        return await in_thread(self._pool, function, *arguments)

    async def _predict(self, record: ModelRecord, inputs: dict[str, bytes], caller: Caller) -> bytes:
        answer = await self._server.predict(
            record.backend_name,
            inputs,
            timeout_s=caller.deadline.remaining_s(),
            client=caller.client,
            priority=caller.priority,
        )
        self._registry.answered(record)
        return answer

    def _count(self, record: ModelRecord, operation: str, images: int) -> None:
        """Count images; the metric's part for a model and an operation is looked up once."""
        counter = self._counters.get((record.name, operation))
        if counter is None:
            counter = self._counters[record.name, operation] = self._metrics.images.labels(record.name, operation)
        counter.inc(images)


async def _together(parts: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all parts at once; the first failure cancels the others."""
    if len(parts) == 1:
        return [await parts[0]]
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


def _joined(parts: Sequence[messages.Classifications]) -> ClassProbabilities:
    probabilities = np.concatenate([part.probabilities for part in parts])  # [N, K]
    generated = [part.generated for part in parts if part.generated is not None]
    return ClassProbabilities(probabilities, np.concatenate(generated) if len(generated) == len(parts) else None)
