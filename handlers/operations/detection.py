"""Concepts, activations, reconstructions and optimal stimuli of an autoencoder, in passes of proven sizes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handlers.compute.micro_batches import mapped
from handlers.compute.model import Model
from handlers.errors import NotFiniteError, RequestError
from handlers.operations import items
from handlers.operations.generation import HEADER_BYTES
from handlers.protocol.images import check_shape, to_pixels
from handlers.protocol.messages import (
    Activate,
    Answer,
    Canary,
    Describe,
    Detect,
    Failure,
    Reconstruct,
    Request,
    Stimulate,
)
from training.networks.features import pooled_units
from training.neurons.concepts import Concept
from training.neurons.stimuli import optimal_stimulus

Float32s = NDArray[np.float32]


class Detector:
    """Answers the requests to an autoencoder."""

    def __init__(self, model: Model, max_bytes: int) -> None:
        """Serve a model with answers of at most `max_bytes` each: TorchServe kills a worker that sends more."""
        self.model = model
        self.facts = model.facts
        self._concepts = {concept.name: concept for concept in model.concepts}
        self._max_numbers = (max_bytes - HEADER_BYTES) // 4

    def check(self, request: Request) -> Request:
        """Return a request if it can be answered.

        Raises:
            RequestError: if it is not for an autoencoder, its images are not of the model's shape, it names a concept
                or unit that does not exist, or its answer would be too large.
        """
        if not isinstance(request, Describe | Canary | Detect | Activate | Reconstruct | Stimulate):
            raise RequestError(f"this model is an autoencoder: it cannot {request.op}")
        if isinstance(request, Detect | Activate | Reconstruct):
            check_shape(request.images, self.model.image_shape)
        if isinstance(request, Detect):
            self._check_concepts(request)
            if request.features and not self.model.features:
                raise RequestError("the top stage of this model has too many maps to compare images by")
        elif isinstance(request, Activate):
            self._check_units(request.stage, request.units)
            self._check_size(request)
        elif isinstance(request, Stimulate):
            self._check_units(request.stage, (request.unit,))
        return request

    def answers(self, requests: Sequence[Request | Failure]) -> list[Answer | Failure]:
        """Answer every request that has not failed yet."""
        return items.answer(self._answer, requests, self.model.device)

    def _answer(self, request: Request) -> Answer:
        if isinstance(request, Detect):
            concepts = [self._concepts[name] for name in request.concepts]
            return Answer(tensors=detect(self.model, request.images, concepts, features=request.features))
        if isinstance(request, Activate):
            found = activations(self.model, request.images, request.stage, request.units)
            return Answer(tensors={"activations": found})
        if isinstance(request, Reconstruct):
            return Answer(tensors={"images": reconstruct(self.model, request.images)})
        if isinstance(request, Stimulate):
            return Answer(tensors=stimulate(self.model, request))
        if isinstance(request, Canary):
            activations(self.model, np.zeros((1, *self.model.image_shape), np.uint8), len(self.model.unit_shapes), ())
            return Answer()
        return Answer(facts=self.model.description)

    def _check_concepts(self, request: Detect) -> None:
        unknown = [name for name in request.concepts if name not in self._concepts]
        if unknown or not request.concepts:
            raise RequestError(f"concepts must be some of {list(self._concepts)}, not {list(request.concepts)}")

    def _check_units(self, stage: int, units: Sequence[int]) -> None:
        sizes = [math.prod(shape) for shape in self.model.unit_shapes]
        if stage > len(sizes):
            raise RequestError(f"stage must be from 1 to {len(sizes)}, not {stage}")
        if max(units, default=0) >= sizes[stage - 1]:
            raise RequestError(f"a unit of stage {stage} must be from 0 to {sizes[stage - 1] - 1}, not {max(units)}")

    def _check_size(self, request: Activate) -> None:
        units = len(request.units) or math.prod(self.model.unit_shapes[request.stage - 1])
        if len(request.images) * units > self._max_numbers:
            raise RequestError(
                f"images times units must be at most {self._max_numbers}, not {len(request.images)} x {units}"
            )


def detect(
    model: Model, images: NDArray[np.uint8], concepts: Sequence[Concept], *, features: bool = False
) -> dict[str, NDArray[Any]]:
    """Detect concepts in images uint8 [N, H, W, C].

    Returns: `activations` float32 [N, K] of the concepts' units, `detected` bool [N, K], `confidences` float32 [N, K];
        with `features`, also `features` float32 [N, M], the means of the top stage's M maps.
    """
    places = [(concept.stage - 1, concept.unit) for concept in concepts]

    def of_concepts(stages: list[Tensor]) -> Tensor:
        units = torch.stack([stages[stage].flatten(1)[:, unit] for stage, unit in places], dim=1)
        return torch.cat([units, pooled_units(stages[-1])], dim=1) if features else units

    seen = _of_units(model, images, of_concepts)
    found = np.ascontiguousarray(seen[:, : len(concepts)])
    columns = list(zip(concepts, found.T.astype(np.float64), strict=True))  # thresholds are float64
    return {
        "activations": found,
        "detected": np.stack([concept.decides(column) for concept, column in columns], axis=1),
        "confidences": np.stack([concept.confidence(column) for concept, column in columns], axis=1).astype(np.float32),
        **({"features": np.ascontiguousarray(seen[:, len(concepts) :])} if features else {}),
    }


def activations(model: Model, images: NDArray[np.uint8], stage: int, units: Sequence[int]) -> Float32s:
    """Return activations float32 [N, U] of units of a stage, from 1, on images uint8 [N, H, W, C]; () means all."""

    def of_stage(stages: list[Tensor]) -> Tensor:
        found = stages[stage - 1].flatten(1)
        return found[:, list(units)] if units else found

    return _of_units(model, images, of_stage)


def reconstruct(model: Model, images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the first stage's reconstructions of images, uint8 [N, H, W, C].

    Raises:
        NotFiniteError: if a pixel is NaN or infinite.
    """
    return to_pixels(_finite(mapped(model, images, model.autoencoder.reconstruct)))


def stimulate(model: Model, request: Stimulate) -> dict[str, NDArray[Any]]:
    """Return the `image` uint8 [H, W, C] that stimulates a unit most, and its `activation` float32 [1].

    Raises:
        NotFiniteError: if the activation is NaN or infinite.
    """
    found = optimal_stimulus(
        model.autoencoder,
        stage=request.stage,
        unit=request.unit,
        sign=request.sign,
        seed=request.seed,
        steps=request.steps,
    )
    if not math.isfinite(found.activation):
        raise NotFiniteError("the optimal stimulus's activation is not finite")
    return {"image": found.image, "activation": np.array([found.activation], np.float32)}


def _of_units(model: Model, images: NDArray[np.uint8], pick: Callable[[list[Tensor]], Tensor]) -> Float32s:
    """Return the activations that `pick` selects from those of all stages, [B, M, H, W] each."""
    network = model.autoencoder
    found: Float32s = _finite(mapped(model, images, lambda batch: pick(network(batch)))).float().numpy()
    return found


def _finite(values: Tensor) -> Tensor:
    if not bool(torch.isfinite(values).all()):
        raise NotFiniteError("the model's activations are not finite")
    return values
