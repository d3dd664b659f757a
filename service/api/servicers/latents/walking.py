"""Walk: the frames of a way through latents, sent as they are drawn."""

from __future__ import annotations

import contextlib
import struct
from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
from mintage.latents import Path, samples_of
from mintage.v1 import latents_pb2
from mintage.v1.latents_pb2 import WalkRequest
from numpy.typing import NDArray

from service.api.answers import serialized
from service.api.requests import encodings, formulas
from service.api.requests.clients import caller_of
from service.api.requests.encodings import ENCODINGS
from service.api.servicers import streams
from service.api.servicers.exploring import Exploring
from service.api.servicers.generation import PART_IMAGES
from service.backend.protocol.drawing_messages import Directions
from service.images.difference import rms_differences
from service.models.asking.drawing import DrawnFiles, DrawnWalk
from service.models.records import ModelRecord
from service.validation import Violations

MAX_LATENTS = 256
MAX_FRAMES_PER_LEG, FRAMES_PER_LEG = 1024, 16
QUICK_BYTES = 2**20  # of the pixels of a part, whose distances take half a millisecond at most
LATENT_BYTES = 4 * 2**20  # of the formulas in a part, unless a single one is larger
_T = struct.Struct("<d")  # as protobuf writes it

_FUNCTIONS = {
    WalkRequest.INTERPOLATION_UNSPECIFIED: "slerp",
    WalkRequest.INTERPOLATION_SLERP: "slerp",
    WalkRequest.INTERPOLATION_LERP: "lerp",
}


class LatentWalking(Exploring):
    """Answers Walk; the answers are serialised already."""

    async def walk(self, request: WalkRequest, context: Any) -> AsyncIterator[bytes]:
        """Draw frames part by part; the next parts are begun when the caller has taken one."""
        record = self._checked_model(request)
        class_index, known = self._checked(request, record)
        room = self._settings.max_message_bytes - LATENT_BYTES
        chosen, largest = encodings.fitting(request.format, record, room)
        path = _path(request)
        first = next((sample.index for sample in samples_of(request.through[0])), 0)

        async def drawn(frames: range) -> tuple[range, DrawnFiles]:
            caller = caller_of(context, self._settings.max_deadline_s)
            what = DrawnWalk(path, frames, known, class_index, first if class_index is None else None)
            part = await streams.let_in(
                lambda: self._inference.draw(record, what, encoding=ENCODINGS[chosen], caller=caller),
                caller,
                first=frames.start == 0,
            )
            return frames, part

        before: NDArray[np.uint8] | None = None
        async with contextlib.aclosing(streams.in_order(map(drawn, parts(path, largest)))) as found:
            async for frames, part in found:
                if part.pixels.nbytes <= QUICK_BYTES:
                    distances = rms_differences(before, part.pixels)
                else:
                    distances = await self._inference.in_pool(rms_differences, before, part.pixels)
                before = part.pixels[-1].copy()
                answer = latents_pb2.WalkResponse(
                    model=f"models/{record.name}",
                    model_digest=record.digest,
                    shape=encodings.shape_of(record),
                    format=chosen,
                    first_frame=frames.start,
                    frames=path.frames,
                    distances=distances,
                    device_class=part.device_class,
                )
                yield serialized(answer, images=part.files, latents=list(formulas_of(path, frames)))

    def _checked_model(self, request: WalkRequest) -> ModelRecord:
        """Check everything that needs no model; returns the model, which is ready."""
        violations = Violations()
        name = violations.model_name("model", request.model)
        if not 2 <= len(request.through) <= MAX_LATENTS:
            violations.add("through", f"must hold from 2 to {MAX_LATENTS} latents, not {len(request.through):,}")
        violations.in_range("frames_per_leg", request.frames_per_leg, 0, MAX_FRAMES_PER_LEG)
        if request.interpolation not in _FUNCTIONS:
            violations.add("interpolation", f"must be one of slerp and lerp, not {request.interpolation}")
        encodings.check_known(request.format, violations)
        violations.check()
        frames, most = _path(request).frames, self._settings.max_stream_images
        if frames > most:
            violations.add("frames_per_leg", f"must be so few that there are {most:,} frames at most, not {frames:,}")
        violations.check()
        return self._registry.ready(name, "generator")

    def _checked(self, request: WalkRequest, record: ModelRecord) -> tuple[int | None, Directions]:
        """Check what needs the model; returns the class, and the directions that are named."""
        violations = Violations()
        found = self._checked_latents(
            "through", request.through, request, record, violations, limits=formulas.END_OF_LEG
        )
        violations.check()
        return found


def parts(path: Path, largest: int) -> Iterator[range]:
    """Cut a walk into parts of a full forward pass each, or as many frames as a message holds with their formulas."""
    size = min(PART_IMAGES, largest)
    sizes = [latent.ByteSize() for latent in path.through]
    start, taken = 0, 0
    for frame in range(path.frames):
        leg = frame // path.frames_per_leg
        own = sizes[leg % len(sizes)] + sizes[(leg + 1) % len(sizes)]
        if frame > start and (frame - start == size or taken + own > LATENT_BYTES):
            yield range(start, frame)
            start, taken = frame, 0
        taken += own
    yield range(start, path.frames)


def formulas_of(path: Path, frames: range) -> Iterator[bytes]:
    """Yield the formula of each frame, serialised: those of one leg differ in t alone, their last eight bytes."""
    leg, whole = -1, b""
    for frame in frames:
        start, step = divmod(frame, path.frames_per_leg)
        if not step:
            yield path.latent(frame).SerializeToString()
            continue
        if start != leg:
            leg, whole = start, path.latent(frame).SerializeToString()
        yield whole[: -_T.size] + _T.pack(step / path.frames_per_leg)


def _path(request: WalkRequest) -> Path:
    per_leg = request.frames_per_leg or FRAMES_PER_LEG
    return Path(request.through, per_leg, _FUNCTIONS[request.interpolation], request.closed)
