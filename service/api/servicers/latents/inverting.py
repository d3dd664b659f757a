"""Invert: the latent of an image, searched for by short calls to a model that carry where the search is."""

from __future__ import annotations

import functools
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from mintage.v1 import latents_pb2
from mintage.v1.latents_pb2 import InvertRequest, InvertResponse, Latent
from numpy.typing import NDArray

from service.api.requests import formulas, uploads
from service.api.requests.clients import caller_of
from service.api.servicers import streams
from service.api.servicers.exploring import class_of
from service.backend.protocol.direction_messages import Search, begin_search_request, read_search, search_request
from service.images import decode, encode
from service.images.difference import rms_differences
from service.models.asking.admission import Caller
from service.models.asking.drawing import DrawnLatents
from service.models.asking.inference import Inference
from service.models.records import ModelRecord
from service.models.registry import Registry
from service.settings import Settings
from service.validation import Violations

MAX_STARTS, STARTS = 64, 8
MAX_STEPS, STEPS = 2000, 300
CALL_ROWS = 4  # starts times steps of one call: with the gradients they take as long as a forward pass of 64
REPORT_S = 0.5  # between two responses

Float32s = NDArray[np.float32]


class LatentInverting:
    """Answers Invert."""

    def __init__(self, settings: Settings, registry: Registry, inference: Inference) -> None:
        self._settings = settings
        self._registry = registry
        self._inference = inference

    async def invert(self, request: InvertRequest, context: Any) -> AsyncIterator[InvertResponse]:
        """Search for the latent of an image; a caller who does not read is waited for, and one who leaves ends it."""
        record, computes = self._models(request)
        decoded = functools.partial(uploads.pixels, request, record, self._settings.max_image_pixels)
        images = await self._inference.in_pool(decoded)

        def caller() -> Caller:
            return caller_of(context, self._settings.max_deadline_s)

        search = _Search(self._inference, computes, images[0], request, size=record.latent_size, caller=caller)
        await search.begin()
        reported = time.monotonic()
        while search.step < search.steps:
            await search.advance()
            if search.step == search.steps or time.monotonic() >= reported + REPORT_S:
                yield await self._report(search, record, request, images, caller())
                reported = time.monotonic()

    async def _report(
        self,
        search: _Search,
        record: ModelRecord,
        request: InvertRequest,
        images: NDArray[np.uint8],
        caller: Caller,
    ) -> InvertResponse:
        """Draw the best latent as Draw does, and say how far the search is."""
        values = search.best.tolist()
        latent = Latent(values=latents_pb2.LatentValues(values=values))
        drawn = await streams.let_in(
            lambda: self._inference.draw(
                record, DrawnLatents([latent], {}, class_of(request)), encoding=encode.PNG, caller=caller
            ),
            caller,
            first=False,
        )
        return InvertResponse(
            model=f"models/{record.name}",
            model_digest=record.digest,
            step=search.step,
            steps=search.steps,
            pixel_error=rms_differences(images[0], drawn.pixels)[0],
            loss=search.loss,
            values=values,
            image=bytes(drawn.files[0]),
            done=search.step == search.steps,
        )

    def _models(self, request: InvertRequest) -> tuple[ModelRecord, ModelRecord]:
        """Check a request; returns the generator, and the model that computes."""
        violations = Violations()
        name = violations.model_name("model", request.model)
        uploads.check(request, 1, violations)
        violations.in_range("starts", request.starts, 0, MAX_STARTS)
        violations.in_range("steps", request.steps, 0, MAX_STEPS)
        violations.check()
        record = self._registry.ready(name, "generator")
        if record.channels not in decode.CHANNELS:
            violations.add("model", f"must be a generator of grey or RGB images, not of {record.channels} channels")
        uploads.check_fits(request, record, violations)
        formulas.check_class(class_of(request), record, violations)
        violations.check()
        return record, record if request.pixels_only else self._registry.discriminator_of(record)


@dataclass(slots=True)
class _Group:
    """Starts that one call takes a step of, and where they are."""

    first: int
    starts: int
    state: Float32s = field(default_factory=lambda: np.empty(0, np.float32))


class _Search:
    """A search in progress: `step` of `steps` are done; `best` is the best latent so far, `loss` its loss.

    Args:
        inference: Asks models.
        record: The model that computes.
        image: uint8 [H, W, C].
        request: What is asked.
        size: Numbers of a latent.
        caller: Who asks, with the deadline of a call that begins now.
    """

    def __init__(
        self,
        inference: Inference,
        record: ModelRecord,
        image: NDArray[np.uint8],
        request: InvertRequest,
        *,
        size: int,
        caller: Callable[[], Caller],
    ) -> None:
        self.step, self.steps = 0, request.steps or STEPS
        self.best = np.zeros(size, np.float32)
        self.loss = float("inf")
        self._inference, self._record, self._image, self._caller = inference, record, image, caller
        self._request, self._size = request, size
        starts = request.starts or STARTS
        self._count = max(1, CALL_ROWS // starts)  # steps of one call
        self._groups = [_Group(first, min(CALL_ROWS, starts - first)) for first in range(0, starts, CALL_ROWS)]

    async def begin(self) -> None:
        """Choose the starts.

        Raises:
            ResourceExhausted: if too many requests wait; later ones wait for their turn.
        """
        for group in self._groups:
            chosen = []
            for start in range(group.first, group.first + group.starts):  # each takes a forward pass
                request = begin_search_request(
                    self._image,
                    seed=self._request.seed,
                    first_start=start,
                    starts=1,
                    class_index=self._request.class_index,
                    pixels_only=self._request.pixels_only,
                )
                chosen.append((await self._ask(1, request, first=start == 0)).state)
            group.state = np.concatenate(chosen, axis=1)

    async def advance(self) -> None:
        """Take the next steps of all starts."""
        count = min(self._count, self.steps - self.step)
        for group in self._groups:
            request = search_request(
                self._image,
                group.state,
                step=self.step,
                count=count,
                steps=self.steps,
                class_index=self._request.class_index,
                pixels_only=self._request.pixels_only,
            )
            found = await self._ask(group.starts, request, first=False)
            group.state = found.state
            least = int(found.losses.argmin())
            if found.losses[least] < self.loss:
                self.best, self.loss = found.latents[least], float(found.losses[least])
        self.step += count

    async def _ask(self, starts: int, request: dict[str, bytes], *, first: bool) -> Search:
        caller = self._caller()
        answer = await streams.let_in(
            lambda: self._inference.call(self._record, request, operation="invert", caller=caller), caller, first=first
        )
        return read_search(answer, (starts, self._size))
