"""Models asked in this process: what their operations answer, taken out of its envelope."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from handlers.compute.model import Model
from handlers.operations.classification import Classifier
from handlers.operations.detection import Detector
from handlers.operations.direct import MAX_BYTES, answers
from handlers.protocol.requests import Activate, Answer, Classify, Detect, Reconstruct, Request

Pixels = NDArray[np.uint8]
Float32s = NDArray[np.float32]


def classify(model: Model, images: Pixels) -> tuple[Float32s, Float32s]:
    """Class probabilities [N, K] and p(generated) [N]."""
    found = tensors(Classifier(model, MAX_BYTES), Classify(images))
    return found["probabilities"], found["generated"]


def classify_with_features(model: Model, images: Pixels) -> tuple[Float32s, Float32s, Float32s]:
    """As `classify`, and features [N, F]."""
    found = tensors(Classifier(model, MAX_BYTES), Classify(images, features=True))
    return found["probabilities"], found["generated"], found["features"]


def activations(model: Model, images: Pixels, stage: int, units: Sequence[int]) -> Float32s:
    """Activations [N, U] of units of a stage, from 1; () means all."""
    return tensors(Detector(model, MAX_BYTES), Activate(images, stage, tuple(units)))["activations"]


def detect(model: Model, images: Pixels, concepts: Sequence[str], *, features: bool = False) -> dict[str, NDArray[Any]]:
    """What a model says about concepts."""
    return tensors(Detector(model, MAX_BYTES), Detect(images, tuple(concepts), features))


def reconstruct(model: Model, images: Pixels) -> Pixels:
    """Reconstructions uint8 [N, H, W, C]."""
    return tensors(Detector(model, MAX_BYTES), Reconstruct(images))["images"]


def tensors(operations: Any, request: Request) -> dict[str, NDArray[Any]]:
    """The tensors of an answer that must be one."""
    [found] = answers(operations, [request])
    assert isinstance(found, Answer), found
    return dict(found.tensors)
