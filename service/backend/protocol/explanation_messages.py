"""The part of the protocol that looks inside networks: requests to a model, and what answers mean.

Every `read_...` raises InvalidArgument if the model says that the request is wrong, Internal if the answer is damaged,
of another shape, or says `error`, and FailedPrecondition if the model was refused at load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from mintage.v1.latents_pb2 import Latent
from numpy.typing import NDArray

from service.backend.protocol.decoding import damaged, numbers, opened, tensor
from service.backend.protocol.drawing_messages import Directions, written
from service.backend.protocol.messages import request_of
from service.backend.protocol.neurons import Neuron


@dataclass(frozen=True, slots=True)
class ClassUnit:
    """The logit of a class, from 0."""

    index: int


@dataclass(frozen=True, slots=True)
class MapUnit:
    """The strongest activation of a feature map, from 0, of a hidden layer, from 1."""

    layer: int
    map: int


Unit = ClassUnit | MapUnit | Neuron | None  # None: "real" of a discriminator, a classifier's most probable class


@dataclass(frozen=True, slots=True)
class Explanations:
    """Guided gradients float32 [n, H, W, C] of images, and the unit's values float32 [n]."""

    gradients: NDArray[np.float32]
    activations: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Peaks:
    """The largest activation float32 [n, M] of each map, and the box int32 [n, M, 4] (left, top, ...) that it sees."""

    values: NDArray[np.float32]
    boxes: NDArray[np.int32]


def explain_request(images: NDArray[np.uint8], unit: Unit, *, random: bool) -> dict[str, bytes]:
    """Ask for the guided gradients of a unit on images uint8 [N, H, W, C], by random weights if that is wanted."""
    target: dict[str, object] = {}
    match unit:
        case ClassUnit(index):
            target = {"class": index}
        case MapUnit(layer, number):
            target = {"map": [layer, number]}
        case Neuron(stage, number, sign):
            target = {"unit": [stage, number, sign]}
    request = {"op": "explain", "shape": list(images.shape), "target": target, "random": random}
    return {**request_of(request), "pixels": images.tobytes()}


def peaks_request(images: NDArray[np.uint8], layer: int) -> dict[str, bytes]:
    """Ask where images uint8 [N, H, W, C] excite each map of a layer most."""
    return {**request_of({"op": "peaks", "shape": list(images.shape), "layer": layer}), "pixels": images.tobytes()}


def tap_request(
    latents: Sequence[Latent],
    directions: Directions,
    *,
    layer: int,
    places: NDArray[np.int64],
    class_index: int | None = None,
) -> dict[str, bytes]:
    """Ask for a generator's activations of a layer at places int64 [P, 3]: number of a latent, row, column."""
    chosen = {} if class_index is None else {"class": class_index}
    where = {"layer": layer, "places": places.tolist()}
    return request_of({"op": "tap", **written(latents, directions), **where, **chosen})


def read_explanations(answer: bytes, shape: tuple[int, int, int, int]) -> Explanations:
    """Read the answer to `explain_request` about images of a shape (count, height, width, channels)."""
    _, tensors = opened(answer)
    return Explanations(numbers(tensors, "gradients", shape), numbers(tensors, "activations", shape[:1]))


def read_peaks(answer: bytes, shape: tuple[int, int], size: tuple[int, int]) -> Peaks:
    """Read the answer to `peaks_request`; the shape is (images, maps), the size that of an image, (height, width)."""
    _, tensors = opened(answer)
    boxes: NDArray[np.int32] = tensor(tensors, "boxes", np.dtype(np.int32), (*shape, 4))
    left, top, width, height = np.moveaxis(boxes, -1, 0)
    inside = (left >= 0) & (top >= 0) & (left + width <= size[1]) & (top + height <= size[0])
    if not bool((inside & (width > 0) & (height > 0)).all()):
        raise damaged("a box is none of the image's")
    return Peaks(numbers(tensors, "values", shape), boxes)


def read_tapped(answer: bytes, shape: tuple[int, int]) -> NDArray[np.float32]:
    """Read the answer to `tap_request`: float32 [places, maps]."""
    _, tensors = opened(answer)
    return numbers(tensors, "activations", shape)
