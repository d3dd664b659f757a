"""The part of the protocol that autoencoders answer: requests to TorchServe, and what answers mean.

Every `read_...` raises InvalidArgument if the model says that the request is wrong, Internal if the answer is damaged,
of another shape, or says `error`, and FailedPrecondition if the model was refused at load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.backend.protocol.decoding import numbers, opened, pixels, probabilities, tensor, text, whole
from service.backend.protocol.messages import request_of
from service.backend.protocol.neurons import Neuron


@dataclass(frozen=True, slots=True)
class Detections:
    """Per image and concept [n, K]: float32 activations, bool decisions, float32 confidences; and the device.

    `features` float32 [n, F] are there if they were asked for.
    """

    activations: NDArray[np.float32]
    detected: NDArray[np.bool_]
    confidences: NDArray[np.float32]
    device_class: str
    torch_version: str
    numerics: int
    features: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Activations:
    """float32 [n, U], and the device that computed them."""

    values: NDArray[np.float32]
    device_class: str


@dataclass(frozen=True, slots=True)
class OptimalStimulus:
    """An image uint8 [H, W, C], its activation before it was rounded to uint8, and the device that computed it."""

    image: NDArray[np.uint8]
    activation: float
    device_class: str


def detect_request(images: NDArray[np.uint8], concepts: Sequence[str], *, features: bool = False) -> dict[str, bytes]:
    """Ask which concepts, at least one, images uint8 [N, H, W, C] show, and for their features if wanted."""
    flags = {"features": True} if features else {}
    return _about(images, {"op": "detect", "concepts": list(concepts), **flags})


def activate_request(images: NDArray[np.uint8], stage: int, units: Sequence[int]) -> dict[str, bytes]:
    """Ask how images uint8 [N, H, W, C] activate units of a stage, from 1; no unit means all."""
    return _about(images, {"op": "activate", "stage": stage, "units": list(units)})


def reconstruct_request(images: NDArray[np.uint8]) -> dict[str, bytes]:
    """Ask for images uint8 [N, H, W, C] to be reconstructed from the first stage."""
    return _about(images, {"op": "reconstruct"})


def stimulate_request(neuron: Neuron, *, seed: int, steps: int) -> dict[str, bytes]:
    """Ask for the image that stimulates a neuron most, by at most so many steps from the noise of a seed."""
    place = {"stage": neuron.stage, "unit": neuron.unit, "sign": neuron.sign}
    return request_of({"op": "stimulate", **place, "seed": seed, "steps": steps})


def read_detections(answer: bytes, shape: tuple[int, int], *, features: int = 0) -> Detections:
    """Read the answer to `detect_request`; the shape is (images, concepts), `features` as many as were asked for."""
    header, tensors = opened(answer)
    return Detections(
        activations=numbers(tensors, "activations", shape),
        detected=tensor(tensors, "detected", np.dtype(np.bool_), shape),
        confidences=probabilities(tensors, "confidences", shape),
        device_class=text(header, "device_class"),
        torch_version=text(header, "torch_version"),
        numerics=whole(header, "numerics", minimum=1),
        features=numbers(tensors, "features", (shape[0], features)) if features else None,
    )


def read_activations(answer: bytes, shape: tuple[int, int]) -> Activations:
    """Read the answer to `activate_request`; the shape is (images, units)."""
    header, tensors = opened(answer)
    return Activations(numbers(tensors, "activations", shape), text(header, "device_class"))


def read_reconstructions(answer: bytes, shape: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    """Read the answer to `reconstruct_request`; the shape is (images, height, width, channels)."""
    _, tensors = opened(answer)
    return pixels(tensors, "images", shape)


def read_optimal_stimulus(answer: bytes, shape: tuple[int, int, int]) -> OptimalStimulus:
    """Read the answer to `stimulate_request`; the shape is (height, width, channels)."""
    header, tensors = opened(answer)
    activation = float(numbers(tensors, "activation", (1,))[0])
    return OptimalStimulus(pixels(tensors, "image", shape), activation, text(header, "device_class"))


def _about(images: NDArray[np.uint8], request: dict[str, object]) -> dict[str, bytes]:
    return {**request_of({**request, "shape": list(images.shape)}), "pixels": images.tobytes()}
