"""Class probabilities of images, in fixed micro-batches; see `handlers.micro_batches`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from handlers import items
from handlers.errors import NotFiniteError, RequestError
from handlers.images import check_shape
from handlers.micro_batches import mapped
from handlers.model import Model
from handlers.wire import Answer, Canary, Classify, Describe, Failure, Request

Float32s = NDArray[np.float32]


class Classifier:
    """Answers the requests to a classifier."""

    def __init__(self, model: Model, max_bytes: int) -> None:
        """Serve a model; max_bytes bounds requests and answers, and an answer is smaller than its request."""
        self.model = model
        self.facts = model.facts

    def check(self, request: Request) -> Request:
        """Return a request that can be answered.

        Raises:
            RequestError: if it asks for something else than classes, or its images are not of the model's shape.
        """
        if not isinstance(request, Describe | Canary | Classify):
            raise RequestError(f"this model is a classifier: it cannot {request.op}")
        if isinstance(request, Classify):
            check_shape(request.images, self.model.image_shape)
        return request

    def answers(self, requests: Sequence[Request | Failure]) -> list[Answer | Failure]:
        """Answer every request that has not failed yet."""
        return items.answer(self._answer, requests, self.model.device)

    def _answer(self, request: Request) -> Answer:
        if isinstance(request, Classify):
            probabilities, generated = classify(self.model, request.images)
            return Answer(tensors={"probabilities": probabilities, "generated": generated})
        if isinstance(request, Canary):
            classify(self.model, np.zeros((1, *self.model.image_shape), np.uint8))
            return Answer()
        return Answer(facts=self.model.description)


def classify(model: Model, images: NDArray[np.uint8]) -> tuple[Float32s, Float32s]:
    """Classify images uint8 [N, H, W, C].

    Returns: probabilities float32 [N, K] of the real classes, each row summing to 1, and p(generated) float32 [N].

    Raises:
        NotFiniteError: if a logit is NaN or infinite.
    """
    logits = mapped(model, images, model.network).double().numpy()
    if not bool(np.isfinite(logits).all()):
        raise NotFiniteError("the model's logits are not finite")
    return to_probabilities(logits)


def to_probabilities(logits: NDArray[np.float64]) -> tuple[Float32s, Float32s]:
    """Turn K logits a row [N, K] into probabilities [N, K] and p(generated) [N].

    The logit of "generated" is fixed at 0 (Salimans et al. 2016, section 5): p(generated) = 1 / (1 + sum_k exp l_k).
    """
    largest = logits.max(axis=1, keepdims=True)
    exponentials = np.exp(logits - largest)
    total = exponentials.sum(axis=1, keepdims=True)
    log_sum = (largest + np.log(total))[:, 0]
    # 1 / (1 + exp s), written so that nothing overflows for either sign of s.
    small = np.exp(-np.abs(log_sum))
    generated = np.where(log_sum > 0, small, 1.0) / (1 + small)
    return (exponentials / total).astype(np.float32), generated.astype(np.float32)
