"""Asking what the units of networks respond to: guided gradients, patches, the feature maps that draw an object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mintage import pictures
from mintage._client.calls import Call, made, model_name
from mintage._client.latent_calls import Formulas, read
from mintage._client.neuron_calls import Neuron
from mintage.errors import InputError
from mintage.pictures import Pictures
from mintage.v1 import explanation_pb2, neurons_pb2

_EXPLANATION = "/mintage.v1.ExplanationService/"


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """A feature map, from 0, of a layer, from 1, next to the images."""

    layer: int
    map: int


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle of pixels of an image, which is named by its position."""

    index: int
    left: int
    top: int
    width: int
    height: int


@dataclass(frozen=True, slots=True, eq=False)
class GuidedGradients:
    """Which pixels of N images excite a unit.

    Attributes:
        model: Resource name of the model that answered.
        digest: SHA-256 of its archive.
        gradients: float32 [N, H, W, C].
        activations: float32 [N], the unit's values.
    """

    model: str
    digest: str
    gradients: NDArray[np.float32]
    activations: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Patch:
    """What a unit sees of an image, and its activation."""

    box: Box
    activation: float


@dataclass(frozen=True, slots=True)
class FoundMaps:
    """The feature maps of a generator's layer, and what they have to do with an object.

    Attributes:
        model: Resource name of the model that answered.
        digest: SHA-256 of its archive.
        layer: Of the maps, from 1, next to the latent.
        weights: By map, in falling order; maps above 0 draw the object.
        accuracy: On held-out places, half of which lie inside boxes, from 0 to 1.
    """

    model: str
    digest: str
    layer: int
    weights: dict[int, float]
    accuracy: float

    @property
    def drawing(self) -> list[int]:
        """The maps that draw the object, the strongest first: to be dropped from a drawing."""
        return [each for each, weight in self.weights.items() if weight > 0]


def guided_backprop(
    model: str,
    images: Pictures,
    *,
    class_name: str | None = None,
    unit: str | Neuron | FeatureMap | None = None,
    random_weights: bool = False,
    timeout_s: float | None = None,
) -> Call[GuidedGradients]:
    """Compute by guided backpropagation which pixels of images excite a unit.

    Args:
        model: A loaded discriminator, classifier or autoencoder.
        images: As for `classify`.
        class_name: Explains the logit of this class.
        unit: Explains the neuron of a concept by its name, a `Neuron`, or a `FeatureMap`. With neither: "real" of a
            discriminator, the most probable class of a classifier.
        random_weights: Whether a network of the same form with random weights answers, for comparison.
        timeout_s: Time limit in seconds; None is the client's.

    Raises:
        InputError: if `images` are no images, both a class and a unit are named, or a number does not fit its field.
        OSError: if a path cannot be read.
        InvalidRequest: naming each wrong image, or a unit that the model does not have.
        NotFound: if the model is not loaded or has no such concept.
        NotPossible: if it is a generator.
        Overloaded: if too many requests wait for it.
        Unavailable: while it is not ready.
        TimedOut: if the time limit passes.
    """
    target = {} if class_name is None else {"class_name": class_name}
    fields = {**target, **_target(unit), **pictures.upload_of(images), "random_weights": random_weights}
    if class_name is not None and unit is not None:
        raise InputError("name a class or a unit, not both")
    request = made(explanation_pb2.GuidedBackpropRequest, model=model_name(model), **fields)
    answer = explanation_pb2.GuidedBackpropResponse
    return Call(_EXPLANATION + "GuidedBackprop", request, answer, _gradients, timeout_s=timeout_s)


def top_patches(
    model: str,
    images: Pictures,
    *,
    layer: int = 0,
    maps: Sequence[int] = (),
    count: int = 0,
    timeout_s: float | None = None,
) -> Call[dict[FeatureMap, list[Patch]]]:
    """Find the patches of images that excite feature maps most, each of another image.

    Args:
        model: A loaded discriminator or classifier with convolutions.
        images: As for `classify`.
        layer: From 1, next to the images; 0 chooses the last one.
        maps: Of the layer, at most 64, each once; none means those that vary most, 16 at most.
        count: Patches for each map, from 1 to 64; 0 chooses 9.
        timeout_s: Time limit in seconds; None is the client's.

    Returns: the patches of each map, the strongest first.

    Raises:
        InputError: if `images` are no images, or a number does not fit its field.
        OSError: if a path cannot be read.
        InvalidRequest: naming each wrong image, a layer or a map that the model does not have.
        NotFound: if the model is not loaded.
        NotPossible: if it is of another kind, or has no convolutions.
        Overloaded: if too many requests wait for it.
        Unavailable: while it is not ready.
        TimedOut: if the time limit passes.
    """
    fields = {"layer": layer, "maps": maps, "count": count, **pictures.upload_of(images)}
    request = made(explanation_pb2.TopPatchesRequest, model=model_name(model), **fields)
    answer = explanation_pb2.TopPatchesResponse
    return Call(_EXPLANATION + "TopPatches", request, answer, _patches, timeout_s=timeout_s)


def find_feature_maps(
    model: str,
    latents: Formulas,
    boxes: Sequence[Box],
    *,
    layer: int = 0,
    seed: int = 0,
    class_index: int | None = None,
    timeout_s: float | None = None,
) -> Call[FoundMaps]:
    """Find the feature maps of a generator's layer that draw an object. Drop them with `draw`.

    Args:
        model: A loaded generator.
        latents: As for `draw`.
        boxes: Around the object, in the images of the latents; an image may have several or none.
        layer: From 1, next to the latent; 0 chooses the second-highest.
        seed: Of samples without one, from 0 to 2^64 - 1.
        class_index: As for `draw`.
        timeout_s: Time limit in seconds; None is the client's.

    Raises:
        InputError: if a formula is wrong, or a number does not fit its field.
        InvalidRequest: naming each wrong part of a formula, box, or a layer that the model does not have.
        NotFound: if the model is not loaded.
        NotPossible: if it is no generator, or has no convolutions.
        Overloaded: if too many requests wait for it.
        Unavailable: while it is not ready.
        TimedOut: if the time limit passes.
    """
    shown = [
        made(explanation_pb2.Box, index=box.index, left=box.left, top=box.top, width=box.width, height=box.height)
        for box in boxes
    ]
    request = made(
        explanation_pb2.FindFeatureMapsRequest,
        model=model_name(model),
        latents=read(latents, seed=seed),
        boxes=shown,
        layer=layer,
        class_index=class_index,
    )
    answer = explanation_pb2.FindFeatureMapsResponse
    return Call(_EXPLANATION + "FindFeatureMaps", request, answer, _found, timeout_s=timeout_s)


def _target(unit: str | Neuron | FeatureMap | None) -> dict[str, Any]:
    """The field that names a unit."""
    match unit:
        case str():
            return {"concept": unit}
        case Neuron():
            return {"neuron": made(neurons_pb2.Neuron, stage=unit.stage, unit=unit.unit, sign=unit.sign)}
        case FeatureMap():
            return {"feature_map": made(explanation_pb2.FeatureMap, layer=unit.layer, map=unit.map)}
    return {}


def _gradients(answer: explanation_pb2.GuidedBackpropResponse) -> GuidedGradients:
    shape = answer.shape
    values = np.frombuffer(bytearray(b"".join(answer.gradients)), "<f4")
    gradients = values.astype(np.float32, copy=False).reshape(-1, shape.height, shape.width, shape.channels)
    return GuidedGradients(answer.model, answer.model_digest, gradients, np.array(answer.activations, np.float32))


def _patches(answer: explanation_pb2.TopPatchesResponse) -> dict[FeatureMap, list[Patch]]:
    return {
        FeatureMap(each.feature_map.layer, each.feature_map.map): [
            Patch(_box(patch.box), patch.activation) for patch in each.patches
        ]
        for each in answer.maps
    }


def _box(box: explanation_pb2.Box) -> Box:
    return Box(box.index, box.left, box.top, box.width, box.height)


def _found(answer: explanation_pb2.FindFeatureMapsResponse) -> FoundMaps:
    weights = {each.map: each.weight for each in answer.maps}
    return FoundMaps(answer.model, answer.model_digest, answer.layer, weights, answer.accuracy)
