"""GenerationService: generates images while the caller waits."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any, TypeAlias

from mintage.v1 import generation_pb2, generation_pb2_grpc

from service.api.answers import serialized
from service.api.requests import encodings
from service.api.requests.clients import caller_of
from service.api.requests.encodings import ENCODINGS
from service.api.servicers import streams
from service.models.asking.admission import Caller
from service.models.asking.inference import Inference
from service.models.records import ModelRecord
from service.models.registry import Registry
from service.settings import Settings
from service.validation import Violations

LAST_INDEX = 2**63 - 1  # the largest int64
PART_IMAGES = 64  # of a stream's part at least: a full forward pass, and a moment's work

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
        chosen, largest = encodings.fitting(request.format, record, self._settings.max_message_bytes)
        encodings.check_fits("count", request.count, largest)
        whole = range(request.first_index, request.first_index + request.count)
        caller = caller_of(context, self._settings.max_deadline_s)
        return await self._generated(request, whole, generation_pb2.GenerateResponse, record, chosen, caller=caller)

    async def StreamGenerate(self, request: generation_pb2.StreamGenerateRequest, context: Any) -> AsyncIterator[Any]:
        """Generate images part by part; the next parts are begun when the caller has taken one."""
        record = self._checked_model(request, self._settings.max_stream_images)
        chosen, largest = encodings.fitting(request.format, record, self._settings.max_message_bytes)

        async def made(indices: range) -> bytes:
            caller, response = caller_of(context, self._settings.max_deadline_s), generation_pb2.StreamGenerateResponse
            make = functools.partial(self._generated, request, indices, response, record, chosen, caller=caller)
            return await streams.let_in(make, caller, first=indices.start == request.first_index)

        async with contextlib.aclosing(
            streams.in_order(map(made, parts(record, request.first_index, request.count, largest)))
        ) as answers:
            async for answer in answers:
                yield answer

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
        shape = record.height, record.width, record.channels
        same = _same(response, (record.name, record.digest), shape, chosen, generated.device_class)  # type: ignore[arg-type] # a class
        return serialized(response(first_index=indices.start), same, images=generated.files)

    def _checked_model(self, request: Request, max_images: int) -> ModelRecord:
        """Check everything that needs no model; returns the model, which is ready."""
        violations = Violations()
        name = violations.model_name("model", request.model)
        violations.in_range("count", request.count, 1, max_images)
        if request.first_index < 0:
            violations.add("first_index", f"must not be negative, as {request.first_index:,} is")
        elif request.first_index + max(0, request.count) > LAST_INDEX:
            most = LAST_INDEX - request.count
            violations.add("first_index", f"must be at most {most:,} for so many images, not {request.first_index:,}")
        encodings.check_known(request.format, violations)
        violations.check()
        return self._registry.ready(name, "generator")


@functools.lru_cache(maxsize=256)
def _same(
    response: Response, model: tuple[str, str], shape: tuple[int, int, int], chosen: Format, device_class: str
) -> bytes:
    """Serialise what is the same in all answers of a model, of a name and a digest, on a device."""
    (name, digest), (height, width, channels) = model, shape
    return response(
        model=f"models/{name}",
        model_digest=digest,
        shape=generation_pb2.ImageShape(height=height, width=width, channels=channels),
        format=chosen,
        device_class=device_class,
    ).SerializeToString()


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
