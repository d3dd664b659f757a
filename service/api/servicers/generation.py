"""GenerationService: generates images while the caller waits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeAlias

from mintage.v1 import generation_pb2, generation_pb2_grpc

from service.api.answers import serialized
from service.api.requests import encodings
from service.api.requests.clients import caller_of
from service.api.requests.encodings import ENCODINGS
from service.api.requests.uploads import ANSWER_OVERHEAD_BYTES
from service.errors import ResourceExhausted
from service.models.admission import Caller
from service.models.inference import Inference
from service.models.registry import ModelRecord, Registry
from service.settings import Settings
from service.validation import Violations

LAST_INDEX = 2**63 - 1  # the largest int64
PART_IMAGES = 64  # of a stream's part at least: a full forward pass, and a moment's work
PARTS_AHEAD = 2  # of a stream in work at a time: one is computed while another is encoded or sent

Format: TypeAlias = encodings.Format.ValueType
Request: TypeAlias = generation_pb2.GenerateRequest | generation_pb2.StreamGenerateRequest
Response: TypeAlias = type[generation_pb2.GenerateResponse] | type[generation_pb2.StreamGenerateResponse]


class GenerationServicer(generation_pb2_grpc.GenerationServiceServicer):
    """Answers GenerationService; the answers are serialised already."""

    def __init__(self, settings: Settings, registry: Registry, inference: Inference) -> None:
        self._settings = settings
        self._registry = registry
        self._inference = inference

    async def Generate(self, request: generation_pb2.GenerateRequest, context: Any) -> Any:
        """Generate images."""
        record = self._checked_model(request, self._settings.max_images)
        chosen, largest = self._checked_format(request, record)
        if request.count > largest:
            violations = Violations()
            text = f"must be at most {largest:,} for the answer to fit in one message, not {request.count:,}"
            violations.add("count", text)
            violations.check()
        whole = range(request.first_index, request.first_index + request.count)
        caller = caller_of(context, self._settings.max_deadline_s)
        return await self._generated(request, whole, generation_pb2.GenerateResponse, record, chosen, caller=caller)

    async def StreamGenerate(self, request: generation_pb2.StreamGenerateRequest, context: Any) -> AsyncIterator[Any]:
        """Generate images part by part; the next parts are begun when the caller has taken one."""
        record = self._checked_model(request, self._settings.max_stream_images)
        chosen, largest = self._checked_format(request, record)
        begun: deque[asyncio.Task[bytes]] = deque()
        try:
            for part in parts(record, request.first_index, request.count, largest):
                begun.append(asyncio.create_task(self._part(request, part, record, chosen, context)))
                if len(begun) == PARTS_AHEAD:
                    yield await begun.popleft()
            while begun:
                yield await begun.popleft()
        finally:
            for task in begun:
                task.cancel()
            await asyncio.gather(*begun, return_exceptions=True)

    async def _part(
        self,
        request: generation_pb2.StreamGenerateRequest,
        indices: range,
        record: ModelRecord,
        chosen: Format,
        context: Any,
    ) -> bytes:
        """Return one part of a stream. Only the first may be refused: a stream that was let in waits for its turn."""
        caller, response = caller_of(context, self._settings.max_deadline_s), generation_pb2.StreamGenerateResponse
        while True:
            try:
                return await self._generated(request, indices, response, record, chosen, caller=caller)
            except ResourceExhausted as error:
                pause_s = error.retry_after_s
                if indices.start == request.first_index or not pause_s or pause_s > caller.deadline.remaining_s():
                    raise
            await asyncio.sleep(pause_s)

    async def _generated(
        self,
        request: Request,
        indices: range,
        response: Response,
        record: ModelRecord,
        chosen: Format,
        *,
        caller: Caller,
    ) -> bytes:
        """Return the answer with the images of some indices."""
        generated = await self._inference.generate(
            record,
            seed=request.seed,
            first_index=indices.start,
            count=len(indices),
            encoding=ENCODINGS[chosen],
            caller=caller,
        )
        answer = response(
            model=f"models/{record.name}",
            model_digest=record.digest,
            shape=encodings.shape_of(record),
            format=chosen,
            first_index=indices.start,
            device_class=generated.device_class,
        )
        return serialized(answer, "images", generated.files)

    def _checked_model(self, request: Request, max_images: int) -> ModelRecord:
        """Check everything that needs no model; returns the model, which is ready."""
        violations = Violations()
        name = violations.model_name("model", request.model)
        violations.in_range("count", request.count, 1, max_images)
        if request.first_index < 0:
            violations.add("first_index", f"must not be negative, as {request.first_index:,} is")
        elif request.first_index + max(0, request.count) > LAST_INDEX:
            violations.add("first_index", f"first_index + count must be at most {LAST_INDEX:,}")
        encodings.check_known(request.format, violations)
        violations.check()
        return self._registry.ready(name, "generator")

    def _checked_format(self, request: Request, record: ModelRecord) -> tuple[Format, int]:
        """Return the format, and how many images of it fit in one message; refuse one that the images cannot have."""
        violations = Violations()
        chosen = encodings.chosen(request.format, record, violations)
        violations.check()
        room = self._settings.max_message_bytes - ANSWER_OVERHEAD_BYTES
        largest = room // encodings.max_bytes(ENCODINGS[chosen], record)
        if not largest:
            violations.add("format", "must be one in which an image of this model fits in one message")
        violations.check()
        return chosen, largest


def parts(record: ModelRecord, first_index: int, count: int, largest: int) -> Iterator[range]:
    """Cut the indices of a stream into parts of at most `largest` images.

    Where a row's bits depend on its neighbours, they are whole micro-batches if those are not larger than that.
    """
    batch = 1 if record.batch_sizes else record.micro_batch
    size = max(1, min(-(-PART_IMAGES // batch) * batch, largest))
    start, end = first_index, first_index + count
    while start < end:
        stop = min(end, (start // size + 1) * size)
        yield range(start, stop)
        start = stop
