"""Inference on loaded autoencoders: concepts, activations, reconstructions, the optimal stimulus of a neuron."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from service.backend.protocol import neuron_messages
from service.backend.protocol.neuron_messages import Activations, Detections, OptimalStimulus
from service.backend.protocol.neurons import Concept, Neuron
from service.images.encode import Encoding, File
from service.models.asking.admission import Caller
from service.models.asking.inference import Inference, Question
from service.models.records import ModelRecord

NUMBER_BYTES = 4  # of a float32


class Detection:
    """Asks autoencoders; images come from `decode`, which runs in a thread, and size_bytes is the request's."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference

    async def detect(
        self,
        record: ModelRecord,
        concepts: Sequence[Concept],
        decode: Callable[[], NDArray[np.uint8]],
        *,
        size_bytes: int,
        caller: Caller,
    ) -> Detections:
        """Look for concepts in images."""
        names = [concept.name for concept in concepts]
        question = Question(
            "detect",
            lambda images: neuron_messages.detect_request(images, names),
            lambda answer, count: neuron_messages.read_detections(answer, (count, len(names))),
            answer_bytes=len(names) * (2 * NUMBER_BYTES + 1),
        )
        parts = await self._inference.ask(record, question, decode, size_bytes=size_bytes, caller=caller)
        return Detections(
            np.concatenate([part.activations for part in parts]),  # [N, K]
            np.concatenate([part.detected for part in parts]),  # [N, K]
            np.concatenate([part.confidences for part in parts]),  # [N, K]
            parts[0].device_class,
            parts[0].torch_version,
            parts[0].numerics,
        )

    async def activations(
        self,
        record: ModelRecord,
        stage: int,
        units: Sequence[int],
        decode: Callable[[], NDArray[np.uint8]],
        *,
        operation: str,
        size_bytes: int,
        caller: Caller,
    ) -> Activations:
        """Return how images activate units of a stage, from 1; no unit means all."""
        count = len(units) or record.stages[stage - 1].units
        question = Question(
            operation,
            lambda images: neuron_messages.activate_request(images, stage, units),
            lambda answer, images: neuron_messages.read_activations(answer, (images, count)),
            answer_bytes=count * NUMBER_BYTES,
        )
        parts = await self._inference.ask(record, question, decode, size_bytes=size_bytes, caller=caller)
        return Activations(np.concatenate([part.values for part in parts]), parts[0].device_class)

    async def reconstruct(
        self,
        record: ModelRecord,
        decode: Callable[[], NDArray[np.uint8]],
        *,
        encoding: Encoding,
        size_bytes: int,
        caller: Caller,
    ) -> list[File]:
        """Return images reconstructed from the first stage, encoded."""
        shape = (record.height, record.width, record.channels)
        question = Question(
            "reconstruct",
            neuron_messages.reconstruct_request,
            lambda answer, count: neuron_messages.read_reconstructions(answer, (count, *shape)),
        )
        parts = await self._inference.ask(record, question, decode, size_bytes=size_bytes, caller=caller)
        return await self._inference.encoders.call(encoding).encode(np.concatenate(parts))

    async def optimal_stimulus(
        self, record: ModelRecord, neuron: Neuron, *, seed: int, steps: int, caller: Caller
    ) -> OptimalStimulus:
        """Return the image that stimulates a neuron most."""
        request = neuron_messages.stimulate_request(neuron, seed=seed, steps=steps)
        answer = await self._inference.call(record, request, operation="optimal_stimulus", caller=caller)
        return neuron_messages.read_optimal_stimulus(answer, (record.height, record.width, record.channels))
