"""Class probabilities of images, in passes of proven sizes; see `handlers.compute.micro_batches`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handlers.compute.micro_batches import mapped
from handlers.compute.model import Model
from handlers.errors import NotFiniteError, RequestError
from handlers.operations import items
from handlers.operations.generation import HEADER_BYTES
from handlers.protocol.images import check_shape
from handlers.protocol.messages import Answer, Canary, Classify, Describe, Failure, Request

Float32s = NDArray[np.float32]


class Classifier:
    """Answers the requests to a classifier."""

    def __init__(self, model: Model, max_bytes: int) -> None:
        """Serve a model with answers of at most `max_bytes` each: TorchServe kills a worker that sends more."""
        self.model = model
        self.facts = model.facts
        self._max_numbers = (max_bytes - HEADER_BYTES) // 4

    def check(self, request: Request) -> Request:
        """Return a request if it can be answered.

        Raises:
            RequestError: if it is not for a classifier, its images are not of the model's shape, or it requests
                features that the model lacks or that do not fit an answer.
        """
        if not isinstance(request, Describe | Canary | Classify):
            raise RequestError(f"this model is a classifier: it cannot {request.op}")
        if isinstance(request, Classify):
            check_shape(request.images, self.model.image_shape)
            if request.features:
                self._check_features(len(request.images))
        return request

    def answers(self, requests: Sequence[Request | Failure]) -> list[Answer | Failure]:
        """Answer every request that has not failed yet."""
        return items.answer(self._answer, requests, self.model.device)

    def _answer(self, request: Request) -> Answer:
        if isinstance(request, Classify):
            return Answer(tensors=self._classified(request))
        if isinstance(request, Canary):
            classify(self.model, np.zeros((1, *self.model.image_shape), np.uint8))
            return Answer()
        return Answer(facts=self.model.description)

    def _classified(self, request: Classify) -> dict[str, Float32s]:
        if request.features:
            probabilities, generated, features = classify_with_features(self.model, request.images)
            return {"probabilities": probabilities, "generated": generated, "features": features}
        probabilities, generated = classify(self.model, request.images)
        return {"probabilities": probabilities, "generated": generated}

    def _check_features(self, images: int) -> None:
        features = self.model.features
        if not features:
            raise RequestError("this model has no features to compare images by, or too many")
        if images * (features + len(self.model.config.classes) + 1) > self._max_numbers:
            raise RequestError(f"{images} images with {features} features each do not fit an answer; ask for fewer")


def classify(model: Model, images: NDArray[np.uint8]) -> tuple[Float32s, Float32s]:
    """Classify images uint8 [N, H, W, C].

    Returns: probabilities float32 [N, K] of the real classes, each row summing to 1, and p(generated) float32 [N].

    Raises:
        NotFiniteError: if a logit is NaN or infinite.
    """
    return to_probabilities(_finite(mapped(model, images, model.network), "logits").double().numpy())


def classify_with_features(model: Model, images: NDArray[np.uint8]) -> tuple[Float32s, Float32s, Float32s]:
    """Classify images uint8 [N, H, W, C] and return their features.

    Returns: as `classify`, and features float32 [N, F], from the same forward pass.

    Raises:
        NotFiniteError: if a logit or a feature is NaN or infinite.
    """
    network = model.classifier
    classes = len(model.config.classes)

    def both(batch: Tensor) -> Tensor:
        return torch.cat([each.float() for each in network.logits_and_features(batch)], dim=1)

    found = _finite(mapped(model, images, both), "logits or features")
    features: Float32s = np.ascontiguousarray(found[:, classes:].numpy())
    return (*to_probabilities(found[:, :classes].double().numpy()), features)


def _finite(values: Tensor, what: str) -> Tensor:
    if not bool(torch.isfinite(values).all()):
        raise NotFiniteError(f"the model's {what} are not finite")
    return values


def to_probabilities(logits: NDArray[np.float64]) -> tuple[Float32s, Float32s]:
    """Convert logits [N, K] to probabilities [N, K] and p(generated) [N].

    The logit of "generated" is fixed at 0 (Salimans et al. 2016, section 5): p(generated) = 1 / (1 + sum_k exp l_k).
    """
    largest = logits.max(axis=1, keepdims=True)
    exponentials = np.exp(logits - largest)
    total = exponentials.sum(axis=1, keepdims=True)
    log_sum = (largest + np.log(total))[:, 0]
    # 1 / (1 + exp s) without overflow for either sign of s.
    small = np.exp(-np.abs(log_sum))
    generated = np.where(log_sum > 0, small, 1.0) / (1 + small)
    return (exponentials / total).astype(np.float32), generated.astype(np.float32)
