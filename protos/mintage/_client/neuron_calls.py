"""Asking autoencoders: concepts, stimuli, activations, reconstructions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mintage import pictures
from mintage._client.calls import Call, Page, Pages, made, model_name
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


def list_concepts(model: str) -> Pages[neurons_pb2.Concept]:
    """List every concept that a model's neurons know, in order of the names.

    Raises:
        InvalidRequest: if this cannot be a model's name.
        NotFound: if the model is not loaded.
        NotPossible: if it is not an autoencoder.
    """

    def page(token: str) -> Call[Page[neurons_pb2.Concept]]:
        request = neurons_pb2.ListConceptsRequest(model=model_name(model), page_token=token)
        answer = neurons_pb2.ListConceptsResponse
        return Call(_NEURONS + "ListConcepts", request, answer, lambda a: Page(a.concepts, a.next_page_token))

    return Pages(page)


def detect(
    model: str, images: Pictures, *, concepts: Sequence[str] = (), timeout_s: float | None = None
) -> Call[Detections]:
    """Say which concepts images show.

    Args:
        model: A loaded autoencoder.
        images: As for `classify`.
        concepts: Names, each once; none means all that the model has.
        timeout_s: Time limit in seconds; None is the client's.

    Raises:
        InputError: if `images` are no images, or a number does not fit its field.
        OSError: if a path cannot be read.
        InvalidRequest: naming each wrong image or concept.
        NotFound: if the model is not loaded or has no such concept.
        NotPossible: if it is not an autoencoder or has no concepts.
        Overloaded: if too many requests wait for it.
        Unavailable: while it is not ready.
        TimedOut: if the time limit passes.
    """
    request = made(neurons_pb2.DetectRequest, model=model_name(model), concepts=concepts, **pictures.upload_of(images))
    return Call(_NEURONS + "Detect", request, neurons_pb2.DetectResponse, _detections, timeout_s=timeout_s)


def top_stimuli(
    model: str, neuron: str | Neuron, images: Pictures, *, count: int = 0, timeout_s: float | None = None
) -> Call[TopStimuli]:
    """Find the images that stimulate a neuron most.

    Args:
        model: A loaded autoencoder.
        neuron: Name of a concept, or a `Neuron`.
        images: As for `classify`.
        count: Number of stimuli, from 1; 0 chooses 48.
        timeout_s: Time limit in seconds; None is the client's.

    Raises:
        InputError: if `images` are no images, or a number does not fit its field.
        OSError: if a path cannot be read.
        InvalidRequest: naming each wrong image, or a neuron that the model does not have.
        NotFound: if the model is not loaded or has no such concept.
        NotPossible: if it is not an autoencoder.
        Overloaded: if too many requests wait for it.
        Unavailable: while it is not ready.
        TimedOut: if the time limit passes.
    """
    fields = {**_target(neuron), **pictures.upload_of(images)}
    request = made(neurons_pb2.TopStimuliRequest, model=model_name(model), count=count, **fields)
    return Call(_NEURONS + "TopStimuli", request, neurons_pb2.TopStimuliResponse, _top_stimuli, timeout_s=timeout_s)


def optimal_stimulus(
    model: str, neuron: str | Neuron, *, seed: int = 0, steps: int = 0, timeout_s: float | None = None
) -> Call[OptimalStimulus]:
    """Compute the image that stimulates a neuron most, by gradient ascent.

    Args:
        model: A loaded autoencoder.
        neuron: Name of a concept, or a `Neuron`.
        seed: Of the noise to start from, from 0 to 2^64 - 1.
        steps: Most steps, from 1 to 500; 0 chooses 100.
        timeout_s: Time limit in seconds; None is the client's.

    Raises:
        InputError: if a number does not fit its field.
        InvalidRequest: if a number is out of its range, or the model has no such neuron.
        NotFound: if the model is not loaded or has no such concept.
        NotPossible: if it is not an autoencoder.
        Overloaded: if too many requests wait for it.
        Unavailable: while it is not ready.
        TimedOut: if the time limit passes.
    """
    fields = {**_target(neuron), "seed": seed, "steps": steps, "format": RAW}
    request = made(neurons_pb2.OptimalStimulusRequest, model=model_name(model), **fields)
    answer = neurons_pb2.OptimalStimulusResponse
    return Call(_NEURONS + "OptimalStimulus", request, answer, _optimal_stimulus, timeout_s=timeout_s)


def activations(
    model: str, images: Pictures, *, stage: int, units: Sequence[int] = (), timeout_s: float | None = None
) -> Call[NDArray[np.float32]]:
    """Return how images activate the units of a stage.

    Args:
        model: A loaded autoencoder.
        images: As for `classify`.
        stage: From 1 to the model's number of stages.
        units: Indices from 0, which may repeat; none means the whole stage.
        timeout_s: Time limit in seconds; None is the client's.

    Returns: float32 [N, U].

    Raises:
        InputError: if `images` are no images, or a number does not fit its field.
        OSError: if a path cannot be read.
        InvalidRequest: naming each wrong image, a stage or a unit that the model does not have, or too large an answer.
        NotFound: if the model is not loaded.
        NotPossible: if it is not an autoencoder.
        Overloaded: if too many requests wait for it.
        Unavailable: while it is not ready.
        TimedOut: if the time limit passes.
    """
    fields = {"stage": stage, "units": units, **pictures.upload_of(images)}
    request = made(neurons_pb2.ActivationsRequest, model=model_name(model), **fields)
    return Call(_NEURONS + "Activations", request, neurons_pb2.ActivationsResponse, _activations, timeout_s=timeout_s)


def reconstruct(model: str, images: Pictures, *, timeout_s: float | None = None) -> Call[NDArray[np.uint8]]:
    """Reconstruct images from the first stage of an autoencoder.

    Args:
        model: A loaded autoencoder.
        images: As for `classify`.
        timeout_s: Time limit in seconds; None is the client's.

    Returns: uint8 [N, H, W, C].

    Raises:
        InputError: if `images` are no images, or a number does not fit its field.
        OSError: if a path cannot be read.
        InvalidRequest: naming each wrong image.
        NotFound: if the model is not loaded.
        NotPossible: if it is not an autoencoder.
        Overloaded: if too many requests wait for it.
        Unavailable: while it is not ready.
        TimedOut: if the time limit passes.
    """
    fields = {"format": RAW, **pictures.upload_of(images)}
    request = made(neurons_pb2.ReconstructRequest, model=model_name(model), **fields)
    answer = neurons_pb2.ReconstructResponse
    return Call(_NEURONS + "Reconstruct", request, answer, _reconstructions, timeout_s=timeout_s)


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
        activations=np.array([[each.activation for each in image] for image in images], np.float32),  # [N, K]
        detected=np.array([[each.detected for each in image] for image in images], np.bool_),  # [N, K]
        confidences=np.array([[each.confidence for each in image] for image in images], np.float32),  # [N, K]
    )


def _top_stimuli(answer: neurons_pb2.TopStimuliResponse) -> TopStimuli:
    return TopStimuli(
        np.array([each.index for each in answer.stimuli], np.int64),  # [n]
        np.array([each.activation for each in answer.stimuli], np.float32),  # [n]
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
