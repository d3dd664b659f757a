"""What a discriminator is asked: only about its inside, and about its generator's."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from handlers.compute.model import Model
from handlers.errors import NotFiniteError, RequestError
from handlers.operations.explaining import Explaining
from handlers.operations.images import ImagePasses, ImageWork
from handlers.protocol.messages import Answer, Canary, Describe, Explain, Peaks, Request


class Judge:
    """Answers the requests to a discriminator."""

    def __init__(self, model: Model, max_bytes: int) -> None:
        """Serve a model with answers of at most `max_bytes` each."""
        self.model = model
        self.facts = model.facts
        self._explaining = Explaining(model, max_bytes)
        self._logits = ImagePasses(model, "judge", lambda batch: [model.network(batch)])

    def check(self, request: Request) -> Request:
        """Return a request if it can be answered.

        Raises:
            RequestError: if it is not for a discriminator, or `Explaining` refuses it.
        """
        if not isinstance(request, Describe | Canary | Explain | Peaks):
            raise RequestError(f"this model is a discriminator: it cannot {request.op}")
        if isinstance(request, Explain | Peaks):
            self._explaining.check(request)
        return request

    def begin(self, request: Request) -> ImageWork | Answer:
        """Return the work of a checked request, or its answer if there is nothing to compute."""
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
