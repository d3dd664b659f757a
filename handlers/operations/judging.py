"""What a discriminator is asked: about its inside, and to invert images with its generator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from handlers.compute.model import Model
from handlers.errors import NotFiniteError, RequestError
from handlers.operations.explaining import Explaining
from handlers.operations.images import ImagePasses, ImageWork
from handlers.operations.inverting import InversionWork, Inverter
from handlers.protocol.requests import Answer, Canary, Describe, Explain, Invert, Peaks, Request


class Judge:
    """Answers the requests to a discriminator."""

    def __init__(self, model: Model, max_bytes: int) -> None:
        """Serve a model with answers of at most `max_bytes` each."""
        self.model = model
        self.facts = model.facts
        self._explaining = Explaining(model, max_bytes)
        self._inverter = Inverter(model)
        self._logits = ImagePasses(model, "judge", lambda batch: [model.network(batch)])

    def check(self, request: Request) -> Request:
        """Return a request if it can be answered.

        Raises:
            RequestError: if it is not for a discriminator, or `Explaining` or `Inverter` refuses it.
        """
        if not isinstance(request, Describe | Canary | Explain | Peaks | Invert):
            raise RequestError(f"this model is a discriminator: it cannot {request.op}")
        if isinstance(request, Explain | Peaks):
            self._explaining.check(request)
        if isinstance(request, Invert):
            self._inverter.check(request)
        return request

    def begin(self, request: Request) -> ImageWork | InversionWork | Answer:
        """Return the work of a checked request, or its answer if there is nothing to compute."""
        if isinstance(request, Invert):
            return self._inverter.begin(request)
        if isinstance(request, Explain | Peaks):
            return self._explaining.begin(request)
        if isinstance(request, Canary):
            blank = np.zeros((1, *self.model.image_shape), np.uint8)
            return ImageWork(self._logits, blank, _first, _passed)
        return Answer(facts=self.model.description)


def _first(results: Sequence[Tensor]) -> Tensor:
    return results[0]


def _passed(logits: Tensor) -> Answer:
    if not bool(torch.isfinite(logits).all()):
        raise NotFiniteError("the model's logits are not finite")
    return Answer()
