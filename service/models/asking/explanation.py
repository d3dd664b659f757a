"""Inference that looks inside loaded models: guided gradients, peaks of feature maps, activations of a generator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from mintage.latents import part_count
from mintage.v1.latents_pb2 import Latent
from numpy.typing import NDArray

from service.backend.protocol import explanation_messages
from service.backend.protocol.drawing_messages import Directions
from service.backend.protocol.explanation_messages import Explanations, Peaks, Unit
from service.models.asking.admission import Caller
from service.models.asking.calls import CALL_BYTES, CALL_PARTS
from service.models.asking.inference import Inference, Question
from service.models.records import ModelRecord

NUMBER_BYTES = 4  # of a float32
CALL_LATENTS = 64  # as many as a forward pass of the usual size has


class Explanation:
    """Asks models; images come from `decode`, which runs in a thread, and size_bytes is the request's."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def explain(
        self,
        record: ModelRecord,
        unit: Unit,
        decode: Callable[[], NDArray[np.uint8]],
        *,
        random: bool,
        size_bytes: int,
        caller: Caller,
    ) -> Explanations:
        """Return the guided gradients of a unit."""
        shape = record.height, record.width, record.channels
        question = Question(
            "explain",
            lambda images: explanation_messages.explain_request(images, unit, random=random),
            lambda answer, count: explanation_messages.read_explanations(answer, (count, *shape)),
            answer_bytes=gradient_bytes(record),
        )
        parts = await self._inference.ask(record, question, decode, size_bytes=size_bytes, caller=caller)
        return Explanations(
            np.concatenate([part.gradients for part in parts]), np.concatenate([part.activations for part in parts])
        )

    async def peaks(
        self,
        record: ModelRecord,
        layer: int,
        decode: Callable[[], NDArray[np.uint8]],
        *,
        size_bytes: int,
        caller: Caller,
    ) -> Peaks:
        """Return where each image excites each map of a layer, from 1, most."""
        maps = record.layers[layer - 1].maps
        question = Question(
            "peaks",
            lambda images: explanation_messages.peaks_request(images, layer),
            lambda answer, count: explanation_messages.read_peaks(answer, (count, maps), (record.height, record.width)),
            answer_bytes=5 * NUMBER_BYTES * maps,
        )
        parts = await self._inference.ask(record, question, decode, size_bytes=size_bytes, caller=caller)
        return Peaks(np.concatenate([part.values for part in parts]), np.concatenate([part.boxes for part in parts]))

    async def tapped(
        self,
        record: ModelRecord,
        latents: Sequence[Latent],
        directions: Directions,
        *,
        layer: int,
        places: NDArray[np.int64],
        class_index: int | None,
        caller: Caller,
    ) -> NDArray[np.float32]:
        """Return the activations float32 [P, M] of a layer at places [P, 3] in order of their latents."""
        maps = record.layers[layer - 1].maps
        counts = np.bincount(places[:, 0], minlength=len(latents))
        requests, ends = [], np.cumsum(counts)
        for start, stop in _spans(latents, counts, NUMBER_BYTES * maps):
            chosen = places[ends[start] - counts[start] : ends[stop - 1]] - np.array([start, 0, 0])
            if len(chosen):
                request = explanation_messages.tap_request(
                    latents[start:stop], directions, layer=layer, places=chosen, class_index=class_index
                )
                requests.append((request, len(chosen)))
        found = await self._inference.calls(
            record,
            requests,
            lambda answer, count: explanation_messages.read_tapped(answer, (count, maps)),
            operation="tap",
            images=len(latents),
            caller=caller,
        )
        return np.concatenate(found)


def gradient_bytes(record: ModelRecord) -> int:
    """Bytes of the guided gradient of one image."""
    return NUMBER_BYTES * record.height * record.width * record.channels


def _spans(latents: Sequence[Latent], places: NDArray[np.int64], place_bytes: int) -> Iterator[tuple[int, int]]:
    """Cut latents into calls from one position to another, by their number, their formulas and the answer's size."""
    start, parts, size = 0, 0, 0
    for index, latent in enumerate(latents):
        own, answer = part_count(latent), int(places[index]) * place_bytes
        full = index - start == CALL_LATENTS or parts + own > CALL_PARTS or size + answer > CALL_BYTES
        if index > start and full:
            yield start, index
            start, parts, size = index, 0, 0
        parts, size = parts + own, size + answer
    yield start, len(latents)
