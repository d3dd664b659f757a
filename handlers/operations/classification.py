"""Class probabilities of images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from handlers.compute.model import Model
from handlers.errors import NotFiniteError, RequestError
from handlers.operations.explaining import Explaining
from handlers.operations.images import ImagePasses, ImageWork
from handlers.protocol.images import check_shape
from handlers.protocol.messages import HEADER_BYTES
from handlers.protocol.requests import Answer, Canary, Classify, Describe, Explain, Peaks, Request

Float32s = NDArray[np.float32]


class Classifier:
    """Answers the requests to a classifier."""

    def __init__(self, model: Model, max_bytes: int) -> None:
        """Serve a model with answers of at most `max_bytes` each."""
        self.model = model
        self.facts = model.facts
        self._explaining = Explaining(model, max_bytes)
        self._max_numbers = (max_bytes - HEADER_BYTES) // 4
        self._logits = ImagePasses(model, "classify", lambda batch: [model.network(batch).cpu()])
        self._features = ImagePasses(model, "features", lambda batch: [_side_by_side(model, batch)])

    def check(self, request: Request) -> Request:
        """Return a request if it can be answered.

        Raises:
            RequestError: if it is not for a classifier, its images are not of the model's shape, or it requests
                features that the model lacks or that do not fit an answer.
        """
        if not isinstance(request, Describe | Canary | Classify | Explain | Peaks):
            raise RequestError(f"this model is a classifier: it cannot {request.op}")
        if isinstance(request, Explain | Peaks):
            self._explaining.check(request)
        if isinstance(request, Classify):
            check_shape(request.images, self.model.image_shape)
            if request.features:
                self._check_features(len(request.images))
        return request

    def begin(self, request: Request) -> ImageWork | Answer:
        """Return the work of a checked request, or its answer if there is nothing to compute."""
        if isinstance(request, Explain | Peaks):
            return self._explaining.begin(request)
        if isinstance(request, Classify):
            finish = self._with_features if request.features else _classified
            return ImageWork(self._features if request.features else self._logits, request.images, _first, finish)
        if isinstance(request, Canary):
            blank = np.zeros((1, *self.model.image_shape), np.uint8)
            return ImageWork(self._logits, blank, _first, _passed)
        return Answer(facts=self.model.description)

    def _with_features(self, found: Tensor) -> Answer:
        """Make the answer from logits and features [N, K + F]."""
        classes = len(self.model.config.classes)
        values = _finite(found, "logits or features")
        features: Float32s = np.ascontiguousarray(values[:, classes:].numpy())
        return Answer(tensors={**_classified(values[:, :classes]).tensors, "features": features})

    def _check_features(self, images: int) -> None:
        features = self.model.features
        if not features:
            raise RequestError("this model has no features to compare images by, or too many")
        if images * (features + len(self.model.config.classes) + 1) > self._max_numbers:
            raise RequestError(f"{images} images with {features} features each do not fit an answer; ask for fewer")


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


def _side_by_side(model: Model, batch: Tensor) -> Tensor:
    """Return logits and features of images, from the same forward pass: [B, K + F]."""
    return torch.cat([each.float() for each in model.classifier.logits_and_features(batch)], dim=1).cpu()


def _first(results: Sequence[Tensor]) -> Tensor:
    return results[0]


def _classified(logits: Tensor) -> Answer:
    """Make the answer: probabilities float32 [N, K] of the real classes, and p(generated) float32 [N]."""
    probabilities, generated = to_probabilities(_finite(logits, "logits").double().contiguous().numpy())
    return Answer(tensors={"probabilities": probabilities, "generated": generated})


def _passed(logits: Tensor) -> Answer:
    _finite(logits, "logits")
    return Answer()


def _finite(values: Tensor, what: str) -> Tensor:
    if not bool(torch.isfinite(values).all()):
        raise NotFiniteError(f"the model's {what} are not finite")
    return values
