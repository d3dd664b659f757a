"""Concepts, activations, reconstructions and optimal stimuli of an autoencoder."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handlers.compute.model import Model
from handlers.errors import NotFiniteError, RequestError
from handlers.operations.explaining import Explaining
from handlers.operations.images import ImagePasses, ImageWork
from handlers.operations.work import Piece
from handlers.protocol.images import check_shape, to_pixels
from handlers.protocol.messages import HEADER_BYTES
from handlers.protocol.requests import (
    Activate,
    Answer,
    Canary,
    Describe,
    Detect,
    Explain,
    Reconstruct,
    Request,
    Stimulate,
)
from training.networks.features import pooled_units
from training.neurons.concepts import Concept
from training.neurons.stimuli import Ascent, Stimulus, ascent_of

Float32s = NDArray[np.float32]


class Detector:
    """Answers the requests to an autoencoder."""

    def __init__(self, model: Model, max_bytes: int) -> None:
        """Serve a model with answers of at most `max_bytes` each."""
        self.model = model
        self.facts = model.facts
        self._concepts = {concept.name: concept for concept in model.concepts}
        self._explaining = Explaining(model, max_bytes)
        self._max_numbers = (max_bytes - HEADER_BYTES) // 4
        self._stages = ImagePasses(model, "activate", lambda batch: _with_features(model, batch))
        self._images = ImagePasses(model, "reconstruct", lambda batch: [model.autoencoder.reconstruct(batch)])

    def check(self, request: Request) -> Request:
        """Return a request if it can be answered.

        Raises:
            RequestError: if it is not for an autoencoder, its images are not of the model's shape, it names a concept
                or unit that does not exist, or its answer would be too large.
        """
        if not isinstance(request, Describe | Canary | Detect | Activate | Reconstruct | Stimulate | Explain):
            raise RequestError(f"this model is an autoencoder: it cannot {request.op}")
        if isinstance(request, Detect | Activate | Reconstruct):
            check_shape(request.images, self.model.image_shape)
        if isinstance(request, Explain):
            self._explaining.check(request)
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

    def begin(self, request: Request) -> ImageWork | StimulusWork | Answer:
        """Return the work of a checked request, or its answer if there is nothing to compute."""
        if isinstance(request, Detect | Explain):
            return self._detection(request) if isinstance(request, Detect) else self._explaining.begin(request)
        if isinstance(request, Activate):
            return ImageWork(self._stages, request.images, _units_of(request.stage, request.units), _activations)
        if isinstance(request, Reconstruct):
            return ImageWork(self._images, request.images, lambda results: results[0], _reconstructions)
        if isinstance(request, Stimulate):
            return StimulusWork(self.model, request)
        if isinstance(request, Canary):
            blank = np.zeros((1, *self.model.image_shape), np.uint8)
            return ImageWork(self._stages, blank, _units_of(len(self.model.unit_shapes), ()), _passed)
        return Answer(facts=self.model.description)

    def _detection(self, request: Detect) -> ImageWork:
        """Answer with `activations` float32 [N, K] of the concepts' units, `detected` bool and `confidences` float32.

        With `features`, also `features` float32 [N, M], the means of the top stage's M maps.
        """
        concepts = [self._concepts[name] for name in request.concepts]

        def read(results: Sequence[Tensor]) -> Tensor:
            columns = [results[each.stage - 1].flatten(1)[:, each.unit] for each in concepts]
            units = torch.stack(columns, dim=1)
            return torch.cat([units, results[-1]], dim=1) if request.features else units

        return ImageWork(self._stages, request.images, read, lambda found: _detected(concepts, found, request.features))

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


class StimulusWork:
    """The ascent to the image that stimulates a unit most. Its rows are steps: other work is done between two."""

    alone = 1

    def __init__(self, model: Model, request: Stimulate) -> None:
        self.passes = StimulusPasses()
        self.rows = request.steps
        self._ascent: Ascent = ascent_of(
            model.autoencoder,
            stage=request.stage,
            unit=request.unit,
            sign=request.sign,
            seed=request.seed,
            steps=request.steps,
        )
        self._found: Stimulus | None = None

    def step(self) -> None:
        """Take a step; does nothing after the last."""
        try:
            if self._found is None:
                next(self._ascent)
        except StopIteration as end:
            self._found = end.value

    def answer(self) -> Answer:
        """Return the `image` uint8 [H, W, C], and its `activation` float32 [1].

        Raises:
            NotFiniteError: if the activation is NaN or infinite.
        """
        while self._found is None:  # the last step has been taken; what follows is the result
            self.step()
        if not math.isfinite(self._found.activation):
            raise NotFiniteError("the optimal stimulus's activation is not finite")
        activation = np.array([self._found.activation], np.float32)
        return Answer(tensors={"image": self._found.image, "activation": activation})


class StimulusPasses:
    """Takes the next step of one ascent."""

    name = "stimulate"

    def compute(self, pieces: Sequence[Piece[StimulusWork]], size: int) -> None:
        """Take a step."""
        for piece in pieces:
            piece.work.step()


def _with_features(model: Model, batch: Tensor) -> list[Tensor]:
    """Return the units of every stage, [B, M, H, W] each, and the features [B, M] if the model has some."""
    stages = model.autoencoder(batch)
    return [*stages, pooled_units(stages[-1])] if model.features else stages


def _units_of(stage: int, units: Sequence[int]) -> Callable[[Sequence[Tensor]], Tensor]:
    """Return what picks units of a stage, from 1, [n, U]; () means all."""

    def read(results: Sequence[Tensor]) -> Tensor:
        found = results[stage - 1].flatten(1)
        return found[:, list(units)] if units else found

    return read


def _activations(found: Tensor) -> Answer:
    return Answer(tensors={"activations": _numbers(found)})


def _passed(found: Tensor) -> Answer:
    _numbers(found)
    return Answer()


def _reconstructions(found: Tensor) -> Answer:
    return Answer(tensors={"images": to_pixels(_finite(found))})


def _detected(concepts: Sequence[Concept], found: Tensor, features: bool) -> Answer:
    seen = _numbers(found)
    units = np.ascontiguousarray(seen[:, : len(concepts)])
    # Thresholds are float64. Each column is contiguous, so that NumPy computes a lone row as it computes many.
    columns = list(zip(concepts, units.T.astype(np.float64, order="C"), strict=True))
    confidences = np.stack([concept.confidence(column) for concept, column in columns], axis=1).astype(np.float32)
    return Answer(
        tensors={
            "activations": units,
            "detected": np.stack([concept.decides(column) for concept, column in columns], axis=1),
            "confidences": confidences,
            **({"features": np.ascontiguousarray(seen[:, len(concepts) :])} if features else {}),
        }
    )


def _numbers(found: Tensor) -> Float32s:
    numbers: Float32s = _finite(found).float().numpy()
    return numbers


def _finite(values: Tensor) -> Tensor:
    if not bool(torch.isfinite(values).all()):
        raise NotFiniteError("the model's activations are not finite")
    return values
