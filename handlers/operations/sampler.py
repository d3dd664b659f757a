"""The operations of a generator: samples, drawn latents and their numbers, directions of its weights, inversion."""

from __future__ import annotations

import math

from handlers.compute.formulas import evaluate
from handlers.compute.model import Model
from handlers.errors import RequestError
from handlers.operations.drawing import Drawing
from handlers.operations.generation import SamplePasses, Samples
from handlers.operations.inverting import InversionWork, Inverter
from handlers.operations.looking import MaskedPasses, Tapping, check_masks
from handlers.operations.weighing import Weighing, WeighingWork
from handlers.protocol.messages import HEADER_BYTES
from handlers.protocol.requests import (
    Answer,
    Canary,
    Describe,
    Draw,
    Evaluate,
    Generate,
    Invert,
    Request,
    Tap,
    WeightDirections,
)

_ANSWERED = Describe | Canary | Generate | Draw | Evaluate | Tap | WeightDirections | Invert


class Sampler:
    """Answers the requests to a generator."""

    def __init__(self, model: Model, max_bytes: int) -> None:
        """Serve a model with answers of at most `max_bytes` each."""
        self.model = model
        self.facts = model.facts
        self.max_images = (max_bytes - HEADER_BYTES) // math.prod(model.image_shape)
        self._passes = SamplePasses(model)
        self._inverter = Inverter(model)
        self._weighing = Weighing(model)

    def check(self, request: Request) -> Request:
        """Return a request if it can be answered.

        Raises:
            RequestError: if it is not for a generator, requests more images than fit an answer, or names feature maps
                that it does not have.
        """
        if not isinstance(request, _ANSWERED):
            raise RequestError(f"this model is a generator: it cannot {request.op}")
        count = request.count if isinstance(request, Generate) else 0
        count = len(request.formulas.latents) if isinstance(request, Draw) else count
        if isinstance(request, Draw):
            check_masks(self.model, request)
        if count > self.max_images:
            raise RequestError(f"count must be at most {self.max_images} for images of this size, not {count}")
        if isinstance(request, Invert):
            self._inverter.check(request)
        if isinstance(request, WeightDirections):
            self._weighing.check(request)
        return request

    def begin(self, request: Request) -> Samples | Drawing | Tapping | InversionWork | WeighingWork | Answer:
        """Return the work of a checked request, or its answer if there is nothing to compute.

        Raises:
            RequestError: if a latent or a class is not one of the model.
        """
        match request:
            case Generate():
                return Samples(self._passes, request)
            case Canary():
                return Samples(self._passes, Generate(0, 0, 1), canary=True)
            case Draw():
                return self._drawing(request)
            case Tap() | Invert() | WeightDirections():
                return self._looked_inside(request)
            case Evaluate():
                return self._evaluated(request)
        return Answer(facts=self.model.description)

    def _drawing(self, request: Draw) -> Drawing:
        if request.drop or request.keep:
            return Drawing(MaskedPasses(self.model, request), request, own_passes=True)
        return Drawing(self._passes, request)

    def _looked_inside(self, request: Tap | Invert | WeightDirections) -> Tapping | InversionWork | WeighingWork:
        match request:
            case Tap():
                return Tapping(self.model, request)
            case Invert():
                return self._inverter.begin(request)
            case WeightDirections():
                return self._weighing.begin(request)

    def _evaluated(self, request: Evaluate) -> Answer:
        config = self.model.config
        found = evaluate(request.formulas, config.latent_size, config.latent_distribution)
        return Answer(tensors={"latents": found.numbers})
