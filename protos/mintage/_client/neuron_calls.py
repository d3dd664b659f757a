"""The calls of NeuronService: requests, and how their answers are read. Both clients use it; see `calls`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mintage import pictures
from mintage._client.calls import Call, Page, made, model_name
from mintage.pictures import Pictures
from mintage.v1 import generation_pb2, neurons_pb2

RAW = generation_pb2.IMAGE_FORMAT_RAW
_NEURONS = "/mintage.v1.NeuronService/"


@dataclass(frozen=True, slots=True)
class Neuron:
    """A unit, from 0, of a stage, from 1; sign -1 if low activations count."""

    stage: int
    unit: int
    sign: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Which of K concepts N images show.

    Attributes:
        model: Resource name of the model that answered.
        digest: SHA-256 of its archive.
        concepts: Names of the concepts.
        activations: float32 [N, K], of each concept's neuron.
        detected: bool [N, K].
        confidences: float32 [N, K], calibrated probability that the image shows the concept.
    """

    model: str
    digest: str
    concepts: tuple[str, ...]
    activations: NDArray[np.float32]
    detected: NDArray[np.bool_]
    confidences: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class TopStimuli:
    """The images that stimulate a neuron most, the strongest first: int64 [n] positions, float32 [n] activations."""

    indices: NDArray[np.int64]
    activations: NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class OptimalStimulus:
    """An image uint8 [H, W, C], the neuron's activation, and the device class that computed it."""

    image: NDArray[np.uint8]
    activation: float
    device_class: str


def list_concepts(model: str, token: str) -> Call[Page[neurons_pb2.Concept]]:
    """A page of a model's concepts."""
    request = neurons_pb2.ListConceptsRequest(model=model_name(model), page_token=token)
    answer = neurons_pb2.ListConceptsResponse
    return Call(_NEURONS + "ListConcepts", request, answer, lambda a: Page(a.concepts, a.next_page_token))


def detect(model: str, images: Pictures, concepts: Sequence[str]) -> Call[Detections]:
    """Which concepts images show."""
    request = made(neurons_pb2.DetectRequest, model=model_name(model), concepts=concepts, **pictures.upload_of(images))
    return Call(_NEURONS + "Detect", request, neurons_pb2.DetectResponse, _detections)


def top_stimuli(model: str, neuron: str | Neuron, images: Pictures, *, count: int) -> Call[TopStimuli]:
    """Which images stimulate a neuron most."""
    fields = {**_target(neuron), **pictures.upload_of(images)}
    request = made(neurons_pb2.TopStimuliRequest, model=model_name(model), count=count, **fields)
    return Call(_NEURONS + "TopStimuli", request, neurons_pb2.TopStimuliResponse, _top_stimuli)


def optimal_stimulus(model: str, neuron: str | Neuron, *, seed: int, steps: int) -> Call[OptimalStimulus]:
    """The image that stimulates a neuron most."""
    fields = {**_target(neuron), "seed": seed, "steps": steps, "format": RAW}
    request = made(neurons_pb2.OptimalStimulusRequest, model=model_name(model), **fields)
    return Call(_NEURONS + "OptimalStimulus", request, neurons_pb2.OptimalStimulusResponse, _optimal_stimulus)


def activations(model: str, images: Pictures, stage: int, units: Sequence[int]) -> Call[NDArray[np.float32]]:
    """How images activate units."""
    fields = {"stage": stage, "units": units, **pictures.upload_of(images)}
    request = made(neurons_pb2.ActivationsRequest, model=model_name(model), **fields)
    return Call(_NEURONS + "Activations", request, neurons_pb2.ActivationsResponse, _activations)


def reconstruct(model: str, images: Pictures) -> Call[NDArray[np.uint8]]:
    """What the first stage keeps of images."""
    fields = {"format": RAW, **pictures.upload_of(images)}
    request = made(neurons_pb2.ReconstructRequest, model=model_name(model), **fields)
    return Call(_NEURONS + "Reconstruct", request, neurons_pb2.ReconstructResponse, _reconstructions)


def _target(neuron: str | Neuron) -> dict[str, Any]:
    """The field that names a neuron: by its concept, or by its place."""
    if isinstance(neuron, str):
        return {"concept": neuron}
    return {"neuron": made(neurons_pb2.Neuron, stage=neuron.stage, unit=neuron.unit, sign=neuron.sign)}


def _detections(answer: neurons_pb2.DetectResponse) -> Detections:
    images = [image.detections for image in answer.images]
    return Detections(
        model=answer.model,
        digest=answer.model_digest,
        concepts=tuple(each.concept for each in images[0]),
        activations=np.array([[each.activation for each in image] for image in images], np.float32),
        detected=np.array([[each.detected for each in image] for image in images], np.bool_),
        confidences=np.array([[each.confidence for each in image] for image in images], np.float32),
    )


def _top_stimuli(answer: neurons_pb2.TopStimuliResponse) -> TopStimuli:
    return TopStimuli(
        np.array([each.index for each in answer.stimuli], np.int64),
        np.array([each.activation for each in answer.stimuli], np.float32),
    )


def _optimal_stimulus(answer: neurons_pb2.OptimalStimulusResponse) -> OptimalStimulus:
    shape = answer.shape
    [image] = pictures.from_raw([answer.image], shape.height, shape.width, shape.channels)
    return OptimalStimulus(image, answer.activation, answer.device_class)


def _activations(answer: neurons_pb2.ActivationsResponse) -> NDArray[np.float32]:
    values = np.frombuffer(bytearray(answer.activations), "<f4")
    return values.astype(np.float32, copy=False).reshape(answer.count, answer.units)


def _reconstructions(answer: neurons_pb2.ReconstructResponse) -> NDArray[np.uint8]:
    return pictures.from_raw(answer.images, answer.shape.height, answer.shape.width, answer.shape.channels)
