"""Inference on loaded models: in calls of bounded size, under the model's admission, within a deadline."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.backend import messages
from service.backend.model_server import ModelServer
from service.errors import Cancelled
from service.images.encode import Encoding, File
from service.images.threads import EncodingThreads
from service.metrics import Metrics
from service.models.admission import Admissions, Caller, Deadline
from service.models.registry import ModelRecord, Registry

T = TypeVar("T")

# Most images and bytes of one call to the model server: a call is a moment's work, so that callers take turns.
CALL_IMAGES = 256
CALL_BYTES = 4 * 2**20


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
        deadline: Deadline,
    ) -> GeneratedFiles:
        """Make samples first_index to first_index + count - 1 of (the model's digest, seed)."""


class Inference:
    """Every call of the API to a model goes through here.

    Args:
        server: Where the models are.
        registry: Is told of each success.
        admissions: The slots of each model.
        pool: Threads for encoding and decoding.
        metrics: Where images are counted.
        call_limit_s: Longest call to the model server, in seconds. The server does not hear that a caller left, so its
            calls are awaited, and keep their slot, even where the caller's own deadline was shorter.
    """

    def __init__(
        self,
        server: ModelServer,
        registry: Registry,
        *,
        admissions: Admissions,
        pool: Executor,
        metrics: Metrics,
        call_limit_s: float,
    ) -> None:
        self._server = server
        self._registry = registry
        self._admissions = admissions
        self._pool = pool
        self.encoders = EncodingThreads(pool, os.cpu_count() or 1)
        self._metrics = metrics
        self._call_limit_s = call_limit_s

    async def generate(
        self,
        record: ModelRecord,
        *,
        seed: int,
        first_index: int,
        count: int,
        encoding: Encoding,
        deadline: Deadline,
    ) -> GeneratedFiles:
        """Make samples first_index to first_index + count - 1 of (the model's digest, seed)."""
        encoder = self.encoders.call(encoding)

        async def work(caller: Caller) -> GeneratedFiles:
            files: list[File] = []
            device_class = ""
            for start, size in spans(record, first_index, count):
                answer = await self._predict(record, messages.generate_request(seed, start, size), caller)
                shape = (size, record.height, record.width, record.channels)
                part = messages.read_images(answer, shape)
                files += await encoder.encode(part.images)
                device_class = part.device_class
            return GeneratedFiles(files, device_class)

        generated = await self._admissions.of(record.backend_name).run(work, deadline=deadline)
        self._metrics.images.labels(record.name, "generate").inc(count)
        return generated

    async def classify(
        self,
        record: ModelRecord,
        decode: Callable[[], NDArray[np.uint8]],
        *,
        size_bytes: int,
        deadline: Deadline,
    ) -> ClassProbabilities:
        """Classify the images [N, H, W, C] that `decode` gives, which runs in a thread; size_bytes is the request's."""
        classes = len(record.classes)
        question = Question(
            "classify",
            messages.classify_request,
            lambda answer, count: messages.read_classifications(answer, (count, classes)),
        )
        return _joined(await self.ask(record, question, decode, size_bytes=size_bytes, deadline=deadline))

    async def ask(
        self,
        record: ModelRecord,
        question: Question[T],
        decode: Callable[[], NDArray[np.uint8]],
        *,
        size_bytes: int,
        deadline: Deadline,
    ) -> list[T]:
        """Ask about the images [N, H, W, C] that `decode` gives, as `classify` does; returns one answer per call."""

        async def work(caller: Caller) -> tuple[int, list[T]]:
            images = await self.in_pool(decode)
            parts = []
            for start, size in spans(record, 0, len(images), answer_bytes=question.answer_bytes):
                answer = await self._predict(record, question.request(images[start : start + size]), caller)
                parts.append(question.read(answer, size))
            return len(images), parts

        admission = self._admissions.of(record.backend_name)
        count, parts = await admission.run(work, deadline=deadline, size_bytes=size_bytes)
        self._metrics.images.labels(record.name, question.operation).inc(count)
        return parts

    async def call(
        self, record: ModelRecord, request: dict[str, bytes], *, operation: str, deadline: Deadline
    ) -> bytes:
        """Make one call without images, whose answer counts as one image."""
        admission = self._admissions.of(record.backend_name)
        answer = await admission.run(lambda caller: self._predict(record, request, caller), deadline=deadline)
        self._metrics.images.labels(record.name, operation).inc()
        return answer

    async def in_pool(self, function: Callable[..., T], *arguments: object) -> T:
        """Run a slow function in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function, *arguments)

    async def _predict(self, record: ModelRecord, inputs: dict[str, bytes], caller: Caller) -> bytes:
        if caller.gone:
            raise Cancelled("the caller is gone")
        answer = await self._server.predict(record.backend_name, inputs, timeout_s=self._call_limit_s)
        self._registry.answered(record)
        return answer


def spans(record: ModelRecord, first_index: int, count: int, *, answer_bytes: int = 0) -> Iterator[tuple[int, int]]:
    """Cut a range of images into calls (first index, count).

    Cuts lie between micro-batches, so none is computed twice, unless a single one is too large for a call.
    answer_bytes is the size of the answer per image, if that is larger than the image.
    """
    image_bytes = max(answer_bytes, record.height * record.width * record.channels)
    limit = max(1, min(CALL_IMAGES, CALL_BYTES // image_bytes))
    step = limit - limit % record.micro_batch or limit
    start, end = first_index, first_index + count
    while start < end:
        stop = min(end, (start // step + 1) * step)
        yield start, stop - start
        start = stop


def _joined(parts: Sequence[messages.Classifications]) -> ClassProbabilities:
    probabilities = np.concatenate([part.probabilities for part in parts])  # [N, K]
    generated = [part.generated for part in parts if part.generated is not None]
    return ClassProbabilities(probabilities, np.concatenate(generated) if len(generated) == len(parts) else None)
